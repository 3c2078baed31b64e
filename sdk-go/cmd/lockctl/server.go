package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

// server is what the settings name: the client to ask it with, and what the client has heard from it.
type server struct {
	*lockserver.Client
	*ear
}

// connect makes a client with the settings of the environment and .env.
func connect(options ...lockserver.Option) (*server, error) {
	e := &ear{}
	options = append(options, lockserver.WithLogger(slog.New(e)))
	client, err := lockserver.New(options...)
	if err != nil {
		return nil, &ending{exitServer, wrongSetting(err)}
	}
	return &server{client, e}, nil
}

// host is the server's address as people know it; of several, with commas between them.
func (s *server) host() string {
	hosts := strings.Split(s.Addr(), ",")
	for i, addr := range hosts {
		_, hosts[i], _ = strings.Cut(addr, "://")
	}
	return strings.Join(hosts, ", ")
}

// standing says why there is no answer yet.
func (s *server) standing() string {
	text := "no answer"
	if err := s.last(); err != nil {
		text = s.trouble(err)
	}
	return s.host() + ": " + text
}

// ear hears of the client's retries. The client returns an error only when it gives up; a person hears of the trouble meanwhile.
type ear struct {
	mu   sync.Mutex
	err  error
	tell func(error) // is told of each, and with nil that things go on; it may be nil
}

// forget makes last tell only of what happens from now on.
func (e *ear) forget() { e.hear(nil) }

func (e *ear) hear(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.err = err
}

// last is what made the client try again last, nil if nothing has.
func (e *ear) last() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// Enabled makes it a slog.Handler.
func (e *ear) Enabled(context.Context, slog.Level) bool { return true }

// Handle remembers the error of a record.
func (e *ear) Handle(_ context.Context, r slog.Record) error {
	var heard error
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok {
			e.hear(err)
			heard = err
		}
		return true
	})
	if e.tell != nil {
		e.tell(heard)
	}
	return nil
}

// WithAttrs is not needed.
func (e *ear) WithAttrs([]slog.Attr) slog.Handler { return e }

// WithGroup is not needed.
func (e *ear) WithGroup(string) slog.Handler { return e }

// trouble says in a few words what stands between us and the server, without naming it.
func (s *server) trouble(err error) string {
	var untrusted x509.UnknownAuthorityError
	var misnamed x509.HostnameError
	var certificate *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	var name *net.DNSError
	var code syscall.Errno
	var failure *lockserver.Error
	switch {
	case errors.As(err, &plain):
		return "it does not speak TLS: is LOCKSERVER_ADDR to begin with http:// ?"
	case errors.As(err, &untrusted):
		return "its certificate is signed by an authority that this machine does not know"
	case errors.As(err, &misnamed):
		return "its certificate is for another host"
	case errors.As(err, &certificate):
		return "its certificate is not valid: " + certificate.Err.Error()
	case errors.As(err, &name) && name.IsNotFound:
		return "there is no host of this name"
	case errors.As(err, &name):
		return "the name of the host cannot be looked up"
	case errors.As(err, &code):
		return code.Error()
	case errors.As(err, &failure):
		text := strings.TrimPrefix(failure.Message, s.host()+" ")
		return clean(strings.NewReplacer(" from "+s.host(), "", " by "+s.host(), "").Replace(text))
	}
	return err.Error()
}

// wrongSetting says which setting is wrong, in the words of lockctl's settings.
func wrongSetting(err error) string {
	var failure *lockserver.Error
	if !errors.As(err, &failure) {
		return err.Error()
	}
	var file *fs.PathError
	switch {
	case failure.Field == ".env" && errors.As(err, &file):
		return ".env in the working directory cannot be read: " + file.Err.Error()
	case failure.Field == ".env":
		return ".env in the working directory is not made of NAME=value lines"
	case failure.Field == "LOCKSERVER_SECRET":
		return "the secret is missing, or is not printable ASCII: set LOCKSERVER_SECRET in the environment or in .env"
	}
	return failure.Message
}
