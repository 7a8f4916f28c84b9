// Command goclient is a client of the chat without a browser: it follows the rules of "The raw
// protocol" in docs/protocol.md.
//
//	PASSWORD=... go run -C examples ./goclient -user ada
//
// Each line of the input is sent to the chat. /logout ends the session. At the end of the input the
// command ends and keeps the session for its next start.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "goclient:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out io.Writer) (err error) {
	flags := flag.NewFlagSet("goclient", flag.ContinueOnError)
	address := flags.String("url", "http://localhost:8080", "`address` of the server")
	user := flags.String("user", "", "`name` to log in with if no token is stored; $PASSWORD is the password")
	register := flags.Bool("register", false, "register that name")
	path := flags.String("token", defaultFile(), "`file` that keeps the token, for one process at a time; its key is in a second file, with .key added")
	if err := flags.Parse(args); err != nil {
		return err
	}
	server, err := url.Parse(*address)
	if err != nil {
		return err
	}
	file, err := openTokenFile(*path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	key, err := openKey(*path + ".key")
	if err != nil {
		return err
	}
	s := newSession(server, file, key, slog.Default())

	token, err := file.Load()
	if err != nil {
		return err
	}
	if token == "" || key.IsLost(token) {
		if *user == "" && token == "" {
			return errors.New("no token is stored: log in with -user")
		}
		if *user == "" {
			return errors.New("the key that the stored session is bound to is lost: log in with -user")
		}
		route := "/login"
		if *register {
			route = "/register"
		}
		if err := s.Login(ctx, route, map[string]string{"username": *user, "password": os.Getenv("PASSWORD")}); err != nil {
			return err
		}
	}

	ctx, quit := context.WithCancel(ctx)
	defer quit()
	s.greeting = "join"
	s.onEvent = func(name string, args []json.RawMessage) { show(out, name, args) }
	go func() { // it ends with the input or with the process, because reading a terminal cannot be stopped
		if !speak(ctx, s, in, out) {
			quit()
		}
	}()
	if err := s.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("the session has ended: %w", err)
	}
	return nil
}

// show prints the events that concern the user.
func show(out io.Writer, name string, args []json.RawMessage) {
	var said struct{ Author, Text string }
	var online struct{ Names []string }
	switch {
	case name == "message" && decode(args, &said) == nil:
		fmt.Fprintf(out, "%s: %s\n", said.Author, said.Text)
	case name == "online" && decode(args, &online) == nil:
		fmt.Fprintf(out, "here: %s\n", strings.Join(online.Names, ", "))
	}
}

// speak sends each line of the input and prints what was wrong with it. It reports whether the last
// one was /logout.
func speak(ctx context.Context, s *session, in io.Reader, out io.Writer) bool {
	for input := bufio.NewScanner(in); input.Scan(); {
		if input.Text() == "/logout" {
			s.Logout()
			return true
		}
		err := s.Call(ctx, "say", input.Text())
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			fmt.Fprintln(out, "say:", err)
		}
	}
	return false
}

// defaultFile returns a path that does not depend on where the command is started.
func defaultFile() string {
	folder, err := os.UserConfigDir()
	if err != nil {
		return "goclient.token"
	}
	return filepath.Join(folder, "socketauth-goclient", "token")
}
