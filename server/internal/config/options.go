// Package config reads the settings of the server: flag over environment over the file .env in the working directory.
package config

import (
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// Options are the settings of a server, checked. The zero value is not one: get them from [Load].
type Options struct {
	Bind           netip.Addr
	Port           int    // 0: the system picks one
	TLSCert        string // files of a certificate and its key; "": no encryption
	TLSKey         string
	Secret         Secret
	PreviousSecret Secret // also accepted, unless empty
	Store          Store

	MaxWait        time.Duration
	MaxLocks       int
	MaxWaiters     int
	MaxRemembered  int
	MaxBody        int // bytes
	MaxConnections int

	MaxSessionOperations int
	MaxSessionUnsent     int // bytes
	SessionTimeout       time.Duration

	HeaderTimeout   time.Duration
	IdleTimeout     time.Duration
	ShutdownTimeout time.Duration

	LogLevel  slog.Level
	LogFormat string // "text" or "json"

	// Warnings are what the person who starts the server should hear, though it starts.
	Warnings []string
}

// Store says where grants are kept.
type Store struct {
	Kind   string // memory or disk
	Target string // disk: the directory
}

func (s Store) String() string {
	if s.Target == "" {
		return s.Kind
	}
	return s.Kind + ":" + s.Target
}

// Address is what the server listens on.
func (o *Options) Address() string {
	return net.JoinHostPort(o.Bind.String(), strconv.Itoa(o.Port))
}
