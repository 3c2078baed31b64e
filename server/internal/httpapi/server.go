package httpapi

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"time"
)

// ServerConfig bounds what a connection may do.
type ServerConfig struct {
	HeaderTimeout time.Duration // for the headers of a request, from its first byte
	BodyTimeout   time.Duration // for its body, behind them
	IdleTimeout   time.Duration // between requests
	TLS           *tls.Config   // nil: no encryption, and no HTTP/2
	Logger        *slog.Logger
}

// maxHeader is what the headers of a request may have, in bytes. The longest that makes sense has a secret and a query.
const maxHeader = 16 << 10

// maxStreams is how many requests may wait on one HTTP/2 connection.
const maxStreams = 10_000

// NewServer makes the HTTP server for a front end. Its time limit for a whole request is lifted by the front end once all is read:
// requests wait for locks. Each answer gets one of its own when it is written.
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
	}
}
