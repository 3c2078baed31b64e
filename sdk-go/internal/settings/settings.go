// Package settings holds what a client is told before it is made. It stands apart from package lockserver so that the tests of the SDK,
// which are in several modules, can change clocks and bounds, and nobody else can.
package settings

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/http"
	"time"
)

// Settings is what options change.
type Settings struct {
	Addr, Owner, Secret string
	NoDotEnv            bool
	RootCAs             *x509.CertPool
	ClientCertificate   func(*tls.CertificateRequestInfo) (*tls.Certificate, error)
	CertFile, KeyFile   string // where it is from
	Proxy               string
	HTTPClient          *http.Client
	Transport           string
	Logger              *slog.Logger

	Clock  func() (mono, wall time.Duration) // since a start that never changes, and since 1970
	Bounds Bounds
}

// Bounds are the figures of the contract that tests change, and two of this SDK. A zero keeps its default.
type Bounds struct {
	Connect       time.Duration
	Hop           time.Duration
	Answer        time.Duration
	Cleanup       time.Duration
	Silence       time.Duration
	SilenceQueued time.Duration
	BackoffFirst  time.Duration
	BackoffMost   time.Duration
	Ping          time.Duration // between pings of a session that is silent
	SessionAgain  time.Duration // until a session is tried again where it was refused
	Grace         time.Duration // how long a call outlives its context for the sake of a clean-up
	Tick          time.Duration // longest time between two looks at the clocks while a lease is held
}
