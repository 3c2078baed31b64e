// Command lockserver serves locks over HTTP.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/lockserver/lockserver/server/internal/app"
	"github.com/lockserver/lockserver/server/internal/config"
	"github.com/lockserver/lockserver/server/internal/fault"
)

// version is set when a release is built: -ldflags "-X main.version=1.2.3".
var version = "dev"

const (
	exitOK      = 0
	exitFailure = 1 // it ran, and failed
	exitUsage   = 2 // a setting was refused
)

func main() {
	os.Exit(run(os.Args[1:], os.LookupEnv, os.Stdout, os.Stderr))
}

func run(args []string, lookupEnv func(string) (string, bool), stdout, stderr io.Writer) int {
	command := "serve"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		command, args = args[0], args[1:]
	}
	switch command {
	case "version":
		return printVersion(stdout)
	case "serve", "healthcheck":
	default:
		return refuse(stderr, fmt.Errorf("command %q is not allowed; allowed: serve (the default), healthcheck, version", command))
	}

	opts, err := config.Load(config.Source{Args: args, LookupEnv: lookupEnv, NeedsSecret: command == "serve"})
	switch {
	case errors.Is(err, config.ErrHelp):
		fmt.Fprint(stdout, config.Help())
		return exitOK
	case errors.Is(err, config.ErrVersion):
		return printVersion(stdout)
	case err != nil:
		return refuse(stderr, err)
	case command == "healthcheck":
		return healthcheck(opts, stdout, stderr)
	}
	log := newLogger(opts, stderr)
	if err := serve(opts, log, stdout); err != nil {
		log.Error("stopped", "error", err)
		return exitFailure
	}
	log.Info("stopped")
	return exitOK
}

func serve(opts *config.Options, log *slog.Logger, stdout io.Writer) (err error) {
	ctx, stop := untilSignal()
	defer stop()

	a, err := app.New(opts, version, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Close()) }()
	if a.Reloads() {
		defer onHangup(a.Reload)()
	}
	log.Info("starting", "version", version, "address", a.Addr().String())
	return a.Run(ctx, func() { fmt.Fprintf(stdout, "lockserver ready on %s\n", a.URL()) })
}

// untilSignal returns a context that ends with the first signal to stop. The next signal has its usual effect: it ends the process at
// once.
func untilSignal() (ctx context.Context, stop context.CancelFunc) {
	ctx, stop = context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	go func() {
		select {
		case <-signals:
		case <-ctx.Done():
		}
		if !fault.SecondSignalIgnored {
			signal.Stop(signals)
		}
		stop()
	}()
	return ctx, stop
}

// onHangup calls reload for every SIGHUP until stop, unless the process ignores it, as under nohup.
func onHangup(reload func()) (stop func()) {
	if signal.Ignored(syscall.SIGHUP) {
		return func() {}
	}
	hangups, ended := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(hangups, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-hangups:
				reload()
			case <-ended:
				return
			}
		}
	}()
	return func() {
		signal.Stop(hangups)
		close(ended)
	}
}

func newLogger(opts *config.Options, w io.Writer) *slog.Logger {
	handlerOptions := &slog.HandlerOptions{Level: opts.LogLevel}
	if opts.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(w, handlerOptions))
	}
	return slog.New(slog.NewTextHandler(w, handlerOptions))
}

func printVersion(stdout io.Writer) int {
	fmt.Fprintf(stdout, "lockserver %s\n", version)
	return exitOK
}

// refuse logs each wrong setting on a line of its own.
func refuse(stderr io.Writer, err error) int {
	log := slog.New(slog.NewTextHandler(stderr, nil))
	for line := range strings.Lines(err.Error()) {
		log.Error("setting refused", "error", strings.TrimSpace(line))
	}
	return exitUsage
}
