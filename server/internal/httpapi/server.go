package httpapi

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/lockserver/lockserver/server/internal/service"
)

// ServerConfig bounds what a connection may do.
type ServerConfig struct {
	HeaderTimeout time.Duration // for the headers of a request, from its first byte
	BodyTimeout   time.Duration // for the body that follows
	IdleTimeout   time.Duration // between requests
	TLS           *tls.Config   // nil: no encryption, and no HTTP/2
	Logger        *slog.Logger
}

// maxHeader bounds the headers of a request, in bytes. The longest useful ones have a secret and a query.
const maxHeader = 16 << 10

// maxStreams bounds the requests that wait on one HTTP/2 connection.
const maxStreams = 10_000

// NewServer makes the HTTP server for a front end. The front end lifts the server's time limit for a request once it is read, as
// requests wait for locks, and sets one for each answer that it writes.
func NewServer(h http.Handler, cfg ServerConfig) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(cfg.TLS != nil)
	return &http.Server{
		Handler:                      h,
		DisableGeneralOptionsHandler: true, // it would answer OPTIONS * without the secret
		ReadHeaderTimeout:            cfg.HeaderTimeout,
		ReadTimeout:                  cfg.HeaderTimeout + cfg.BodyTimeout,
		IdleTimeout:                  cfg.IdleTimeout,
		MaxHeaderBytes:               maxHeader,
		ErrorLog:                     slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelWarn),
		Protocols:                    protocols,
		HTTP2:                        &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
		TLSConfig:                    cfg.TLS,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, originKey{}, &service.Origin{Remote: c.RemoteAddr().String()})
		},
	}
}

// originKey is where the context of a request has the connection's origin.
type originKey struct{}

func origin(r *http.Request) *service.Origin {
	if from, ok := r.Context().Value(originKey{}).(*service.Origin); ok {
		return from
	}
	return &service.Origin{Remote: r.RemoteAddr}
}
