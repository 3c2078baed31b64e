package httpapi_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/httpapi"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/service"
)

// granting is an engine that grants all at once, and counts what comes back.
type granting struct {
	answering
	left int
}

func (e *granting) Leave(lock.Ticket) { e.left++ }

// connection stands for one whose writes can be made to fail.
type connection struct {
	*httptest.ResponseRecorder
	broken error
}

func (c connection) FlushError() error                { return c.broken }
func (c connection) SetReadDeadline(time.Time) error  { return nil }
func (c connection) SetWriteDeadline(time.Time) error { return nil }

func TestGrantGoesBackUnlessItWasWritten(t *testing.T) {
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for name, c := range map[string]struct {
		ctx     context.Context
		broken  error
		left    int
		written bool
	}{
		"written":                           {t.Context(), nil, 0, true},
		"write failed":                      {t.Context(), errors.New("broken pipe"), 1, true},
		"cancelled before the first byte":   {gone, nil, 1, false},
		"cancelled, and it would not be so": {gone, errors.New("broken pipe"), 1, false},
	} {
		// Where the answer and the end of the client come together it is chance which one is seen first.
		for range 50 {
			e := &granting{answering: answering{lock.Answer{Code: lock.Granted, Token: 1, ExpiresIn: lock.NoLease}}}
			ops := service.New(service.Config{Secrets: []string{secret}})
			ops.Serve(e)
			api := httpapi.New(ops, httpapi.Config{Version: version, MaxBody: 1 << 10, BodyTimeout: time.Second, Logger: slog.New(slog.DiscardHandler)})
			w := connection{httptest.NewRecorder(), c.broken}
			r := httptest.NewRequestWithContext(c.ctx, http.MethodPost, "/acquire", strings.NewReader(`{"resource":"r","owner":"o"}`))
			r.Header.Set("X-LOCKSERVER-SECRET", secret)
			api.ServeHTTP(w, r)
			require.Equal(t, c.left, e.left, name)
			require.Equal(t, c.written, w.Body.Len() > 0, name)
		}
	}
}
