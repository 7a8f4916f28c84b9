package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"time"
)

// nodeConfig is what a node reads from its standard input.
type nodeConfig struct {
	Name     string // a letter
	Nodes    int    // how many there are
	Secret   string
	Redis    string // host:port
	InMemory bool   // Redis is the stand-in, which is gone when the cluster ends
}

// keepRunning runs a node, and starts it again if it ends before ctx does. It calls started with
// the node's address, or with the reason why it did not start, and once ctx ends it waits for the
// node.
func keepRunning(ctx context.Context, c nodeConfig, logs io.Writer, log *slog.Logger, started func(addr string, err error)) {
	for {
		err := runChild(ctx, c, logs, started)
		if ctx.Err() != nil {
			return
		}
		log.Warn("a node has ended and is started again", slog.String("node", c.Name), slog.Any("cause", err))
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return
		}
	}
}

// runChild runs a node in a process of its own until ctx ends. The process ends when its standard
// input does, and so also if this process is killed.
func runChild(ctx context.Context, c nodeConfig, logs io.Writer, started func(addr string, err error)) (err error) {
	addr := ""
	defer func() {
		if addr == "" {
			started("", fmt.Errorf("node %s has not started: %w", c.Name, err))
		}
	}()
	program, err := os.Executable()
	if err != nil {
		return err
	}
	command := exec.Command(program, "node")
	command.Stderr, command.WaitDelay = logs, 10*time.Second
	stdin, err := command.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := command.StdoutPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() {
		_ = stdin.Close()
		time.AfterFunc(2*shutdownTimeout, func() { _ = command.Process.Kill() })
	})
	defer stop()
	err = json.NewEncoder(stdin).Encode(c)
	line, readErr := bufio.NewReader(stdout).ReadString('\n')
	if addr = strings.TrimSpace(line); addr != "" {
		started(addr, nil)
	}
	return errors.Join(err, readErr, command.Wait())
}
