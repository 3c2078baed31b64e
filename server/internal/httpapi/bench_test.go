package httpapi_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/engine"
	"github.com/lockserver/lockserver/server/internal/httpapi"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/metrics"
	"github.com/lockserver/lockserver/server/internal/service"
	"github.com/lockserver/lockserver/server/internal/store/memory"
)

const (
	benchAcquire = `"expire":30,"resource":"jobs/nightly-00001","owner":"worker-0001","id":"request-`
	benchRelease = `"resource":"jobs/nightly-00001","owner":"worker-0001","id":"request-`
)

func benchAPI(b *testing.B) *httpapi.API {
	b.Helper()
	log := slog.New(slog.DiscardHandler)
	bounds := lock.Bounds{MaxLocks: 1000, MaxWaiters: 1000, MaxRemembered: 1000, MaxWait: time.Minute}
	e, err := engine.Open(b.Context(), engine.Config{Store: memory.New(), Bounds: bounds, Logger: log})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, e.Close(context.Background())) })
	s := service.New(service.Config{Secrets: []string{secret}, Observer: metrics.New(version)})
	s.Serve(e)
	return httpapi.New(s, httpapi.Config{Version: version, MaxBody: 64 << 10, BodyTimeout: 10 * time.Second, Logger: log})
}

// appendBody appends the body of a request with an id of its own. It does not allocate, so that what is counted is the server's.
func appendBody(b []byte, fields string, n int) []byte {
	b = append(append(b, '{'), fields...)
	return append(strconv.AppendInt(b, 10_000_000+int64(n)%10_000_000, 10), `"}`...)
}

// BenchmarkHandlers tells what an acquire and a release cost without net/http: the request is read already and the answer goes nowhere.
func BenchmarkHandlers(b *testing.B) {
	api := benchAPI(b)
	acquire, release := newBenchRequest(b, "/acquire"), newBenchRequest(b, "/release")
	w := &discard{header: make(http.Header, 8)}
	var body []byte
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		body = appendBody(body[:0], benchAcquire, i)
		acquire.serve(b, api, w, body)
		body = appendBody(body[:0], benchRelease, i)
		release.serve(b, api, w, body)
	}
}

// BenchmarkHTTP is the same over a connection, with net/http and the kernel. Profiles of it show where the time of a request goes; the
// client, which shares the process, is in benchClient.
func BenchmarkHTTP(b *testing.B) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	log := slog.New(slog.DiscardHandler)
	web := httpapi.NewServer(benchAPI(b), httpapi.ServerConfig{HeaderTimeout: 10 * time.Second, BodyTimeout: 10 * time.Second, IdleTimeout: time.Minute, Logger: log})
	served := make(chan error, 1)
	go func() { served <- web.Serve(httpapi.Limit(listener, 10, log)) }()
	b.Cleanup(func() {
		require.NoError(b, web.Close())
		require.ErrorIs(b, <-served, http.ErrServerClosed)
	})
	conn, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(b, err)
	defer conn.Close()
	c := &benchClient{conn: conn, reader: bufio.NewReader(conn)}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		c.do(b, "/acquire", benchAcquire, i)
		c.do(b, "/release", benchRelease, i)
	}
}

// benchRequest is one request, to be served again and again with another body.
type benchRequest struct {
	*http.Request
	body bytes.Reader
}

func newBenchRequest(b *testing.B, path string) *benchRequest {
	b.Helper()
	r := &benchRequest{}
	var err error
	r.Request, err = http.NewRequestWithContext(b.Context(), http.MethodPost, path, nil)
	require.NoError(b, err)
	r.Header.Set("X-Lockserver-Secret", secret)
	r.Body = io.NopCloser(&r.body)
	return r
}

func (r *benchRequest) serve(b *testing.B, api *httpapi.API, w *discard, body []byte) {
	clear(w.header)
	r.body.Reset(body)
	r.ContentLength = int64(len(body))
	api.ServeHTTP(w, r.Request)
	if w.status != http.StatusOK {
		b.Fatalf("%s: %d", r.URL.Path, w.status)
	}
}

// discard takes answers as the writer of net/http does, and throws them away.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header              { return d.header }
func (d *discard) WriteHeader(status int)           { d.status = status }
func (d *discard) Write(b []byte) (int, error)      { return len(b), nil }
func (d *discard) FlushError() error                { return nil }
func (d *discard) SetReadDeadline(time.Time) error  { return nil }
func (d *discard) SetWriteDeadline(time.Time) error { return nil }

type benchClient struct {
	conn   net.Conn
	reader *bufio.Reader
	body   []byte
	out    []byte
}

func (c *benchClient) do(b *testing.B, path, fields string, n int) {
	c.body = appendBody(c.body[:0], fields, n)
	c.out = append(append(c.out[:0], "POST "...), path...)
	c.out = append(c.out, " HTTP/1.1\r\nHost: x\r\nX-LOCKSERVER-SECRET: "+secret+"\r\nContent-Length: "...)
	c.out = strconv.AppendInt(c.out, int64(len(c.body)), 10)
	c.out = append(append(c.out, "\r\n\r\n"...), c.body...)
	if _, err := c.conn.Write(c.out); err != nil {
		b.Fatal(err)
	}
	first, err := c.reader.ReadSlice('\n')
	if err != nil || string(first) != "HTTP/1.1 200 OK\r\n" {
		b.Fatalf("%s: %q, %v", path, first, err)
	}
	// An answer ends with the only line that is JSON.
	for line := first; line[0] != '{'; {
		if line, err = c.reader.ReadSlice('\n'); err != nil {
			b.Fatal(err)
		}
	}
}
