package lockserver

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"
)

// Option changes how [New] makes a client.
type Option func(*settings)

// WithAddr sets where the server is: host, host:port, [v6]:port, or an http:// or https:// URL, with a path prefix if need be. The
// default port is 8080. The servers of a cluster are given one by one, or in one string with commas between them: the client asks one of
// them until it fails, and then the next. Without this option LOCKSERVER_ADDR counts, and without that 127.0.0.1:8080.
func WithAddr(addrs ...string) Option {
	return func(s *settings) { s.Addr = strings.Join(addrs, ",") }
}

// WithOwner sets the label under which this client's locks are shown. Without this option LOCKSERVER_OWNER counts, and without that
// host name, process id and random bits. The owner is no credential: goroutines that share a client, and clients that share an owner,
// exclude each other.
func WithOwner(owner string) Option { return func(s *settings) { s.Owner = owner } }

// WithSecret sets the server's secret. Without this option LOCKSERVER_SECRET counts; there is no default.
func WithSecret(secret string) Option { return func(s *settings) { s.Secret = secret } }

// WithoutDotEnv keeps New from reading .env in the working directory.
func WithoutDotEnv() Option { return func(s *settings) { s.NoDotEnv = true } }

// WithRootCAs sets the certificate authorities that vouch for an https:// server, instead of the system's.
func WithRootCAs(pool *x509.CertPool) Option { return func(s *settings) { s.RootCAs = pool } }

// WithClientCertificate sets what the client shows to an https:// server that asks for a certificate (--tls-client-ca), in place of the
// files that LOCKSERVER_CLIENT_CERT and LOCKSERVER_CLIENT_KEY name.
func WithClientCertificate(cert tls.Certificate) Option {
	return func(s *settings) {
		s.ClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
	}
}

// WithClientCertificateFiles is the same with the files of a certificate and its private key, in PEM. They are read again for a new
// connection once they have changed; while they cannot be used, what they held before is shown.
func WithClientCertificateFiles(cert, key string) Option {
	return func(s *settings) { s.CertFile, s.KeyFile = cert, key }
}

// WithProxy makes every connection, also those without TLS, a tunnel (CONNECT) through an HTTP proxy: an http:// or https:// URL, with
// user:password@ if it wants one. Without this option there is none: variables such as HTTP_PROXY are not followed, so that no lock
// travels through a proxy by accident.
func WithProxy(url string) Option { return func(s *settings) { s.Proxy = url } }

// WithHTTPClient makes requests go through the client's Transport, say for tracing or client certificates. The rest of it is not
// used: requests are bounded by this package, and redirects are not followed. The Transport must not limit the connections per host,
// as every call that waits occupies one. Proxies are the Transport's own matter: http.DefaultTransport follows HTTP_PROXY.
// A client without a Transport changes nothing.
func WithHTTPClient(client *http.Client) Option { return func(s *settings) { s.HTTPClient = client } }

// Transport is how a client talks to its server. It makes no difference to what locks do.
type Transport string

const (
	// HTTP makes a request for each operation, and a connection for each that waits.
	HTTP Transport = "http"
	// Session carries all operations over one WebSocket, with a fraction of the work. Losses are told at once, and one message renews all
	// leases. A server without sessions, or a proxy that keeps them away, is an error.
	Session Transport = "session"
	// Auto is Session, or HTTP if the server or something before it has none; a session is then tried again after a minute.
	Auto Transport = "auto"
)

// WithTransport sets how the client talks to its server. Without this option LOCKSERVER_TRANSPORT counts (auto, session or http), and
// without that it is Auto.
func WithTransport(t Transport) Option { return func(s *settings) { s.Transport = string(t) } }

// WithLogger sets who hears of retries, failed renewals and lost locks. By default nobody does.
func WithLogger(logger *slog.Logger) Option { return func(s *settings) { s.Logger = logger } }

// AcquireOption changes how one lock is acquired.
type AcquireOption func(*acquireOptions)

type acquireOptions struct {
	expire      time.Duration
	hasExpire   bool
	renew       bool
	nonBlocking bool
	shared      bool
	limit       int
	hasLimit    bool
	note        string
}

// Expire gives the lock a lease of this length, counted from the grant and rounded up to a millisecond: unless it is renewed, the lock
// is free again after it. At most 10 years are allowed, and no less than leaves something of the lease once 1 % and 2 ms are taken off it
// for safety (see [Lock.Expiry]): others are refused with ErrInvalidRequest. A lease that is over each time before its grant arrives is
// asked for again, until the context ends: let it be much longer than an answer takes.
func Expire(d time.Duration) AcquireOption {
	return func(o *acquireOptions) { o.expire, o.hasExpire = d, true }
}

// Renewed renews the lease at a third of its length until the lock is released or lost. Without [Expire] the lease is 30 s.
func Renewed() AcquireOption { return func(o *acquireOptions) { o.renew = true } }

// NonBlocking makes the call fail with ErrLocked if the lock is not free.
func NonBlocking() AcquireOption { return func(o *acquireOptions) { o.nonBlocking = true } }

// Shared takes the lock as a reader: any number of them hold it together, and none with a writer, which is a lock taken without this
// option.
func Shared() AcquireOption { return func(o *acquireOptions) { o.shared = true } }

// Limit takes one of n permits of a counting semaphore, 1 to 1,000,000. All who use the resource must name the same n.
func Limit(n int) AcquireOption { return func(o *acquireOptions) { o.limit, o.hasLimit = n, true } }

// Note adds a free text of at most 1 KiB for people who look at the lock.
func Note(text string) AcquireOption { return func(o *acquireOptions) { o.note = text } }

// check refuses what would not reach the server as it was meant; the server judges the rest.
func (o *acquireOptions) check(resource string) error {
	switch {
	case !utf8.ValidString(resource):
		return invalid(resource, "resource", "is not valid UTF-8")
	case !utf8.ValidString(o.note):
		return invalid(resource, "note", "is not valid UTF-8")
	case o.hasExpire && !usableLease(o.expire):
		return unusableLease(resource, o.expire)
	case o.hasLimit && o.limit < 1:
		return invalid(resource, "limit", fmt.Sprintf("is %d, and must be 1 to 1000000", o.limit))
	}
	return nil
}

func invalid(resource, field, problem string) *Error {
	return &Error{Code: ErrInvalidRequest, Resource: resource, Field: field, Message: field + " " + problem}
}
