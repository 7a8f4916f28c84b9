// Command bench measures socketauth beside other servers. Run it in the root of the repository with
//
//	go run -C bench .
//
// See README.md for what is measured.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"github.com/z-open/socketauth/bench/internal/compare"
	"github.com/z-open/socketauth/bench/internal/servers"
)

func main() {
	if servers.Main() || servers.StoreMain() {
		return // this was a process that is measured
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	o := compare.Options{Dir: ".", Log: os.Stderr}
	flag.IntVar(&o.Rounds, "rounds", 3, "how often each candidate has its turn")
	flag.IntVar(&o.Idle, "idle", 0, "the highest number of idle sockets (default 100,000, or what the limit of open files allows)")
	flag.BoolVar(&o.Short, "short", false, "tiny runs that only show that everything works")
	only := flag.String("only", "", "names of workloads and candidates, separated by commas (default all)")
	file := flag.String("o", "", "write the raw figures to this file, as JSON")
	flag.Parse()
	if flag.NArg() > 0 || o.Rounds < 1 {
		flag.Usage()
		return errors.New("unexpected arguments")
	}
	if *only != "" {
		o.Only = strings.Split(*only, ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	report, err := compare.Run(ctx, o)
	if err != nil {
		return err
	}
	if *file != "" {
		raw, err := json.MarshalIndent(report, "", "\t")
		if err != nil {
			return err
		}
		if err := os.WriteFile(*file, append(raw, '\n'), 0o644); err != nil {
			return err
		}
	}
	if err := report.WriteTable(os.Stdout); err != nil {
		return err
	}
	if n := report.Failed(); n > 0 {
		return fmt.Errorf("%d of %d runs failed", n, len(report.Results))
	}
	return nil
}
