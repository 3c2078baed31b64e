package httpapi_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// The secret comes before the body: the answer is there although not a byte of the body was sent.
func TestWrongSecretIsAnsweredBeforeTheBody(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	for _, head := range []string{
		"POST /acquire HTTP/1.1\r\nHost: x\r\nX-LOCKSERVER-SECRET: wrong\r\nContent-Length: 40\r\n\r\n",
		"POST /acquire HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n",
		"POST /acquire HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
		"POST /acquire HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\nConnection: close\r\n\r\n",
		"POST /acquire HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 40\r\n\r\n",
	} {
		c := s.dial()
		c.send(head)
		got := c.answer()
		require.Equal(t, 401, got.status, head)
		require.True(t, got.closes, head)
		c.ended()
	}
}

// A client that sends all of a body before it reads gets to read the answer, not a reset.
func TestAnswerOutlivesAnUnreadBody(t *testing.T) {
	t.Parallel()
	s := start(t, setup{})
	body := strings.Repeat("x", 250<<10)
	for _, c := range []struct {
		secret string
		status int
	}{{"wrong", 401}, {secret, 413}} {
		conn := s.dial()
		// With smaller buffers than the body it can send all only while somebody reads.
		require.NoError(t, conn.Conn.(*net.TCPConn).SetWriteBuffer(32<<10))
		conn.send(fmt.Sprintf("POST /acquire HTTP/1.1\r\nHost: x\r\nX-LOCKSERVER-SECRET: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", c.secret, len(body), body))
		require.Equal(t, c.status, conn.answer().status)
	}
}

// What is no HTTP gets the plain answer of net/http, and ends the connection.
func TestWhatIsNoHTTP(t *testing.T) {
	t.Parallel()
	s := start(t, setup{headerTimeout: time.Second})
	for request, status := range map[string]int{
		"NONSENSE\r\n\r\n":                                                                   400,
		"GET /healthz HTTP/1.1\r\n\r\n":                                                      400, // no Host
		"GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n":                                400,
		"GET /healthz HTTP/9.1\r\nHost: a\r\n\r\n":                                           505,
		"GET /healthz HTTP/1.1\r\nHost: a\r\nA B: c\r\n\r\n":                                 400,
		"POST /acquire HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n":                     400,
		"POST /acquire HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n":               501,
		"POST /acquire HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\nContent-Length: 1\r\n\r\n": 417,
		"GET /healthz HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("y", 64<<10) + "\r\n\r\n": 431,
	} {
		c := s.dial()
		c.send(request)
		resp, err := http.ReadResponse(c.reader, nil)
		require.NoError(t, err)
		require.Equal(t, status, resp.StatusCode, "%.60q", request)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		c.ended()
	}
	c := s.dial()
	c.send("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n")
	require.Equal(t, 401, c.answer().status, "net/http would answer 200 here")
}

func TestTruncatedAndSlowBodies(t *testing.T) {
	t.Parallel()
	patient, s := start(t, setup{}), start(t, setup{headerTimeout: 500 * time.Millisecond})
	for _, half := range []string{"Content-Length: 40\r\n\r\n{\"resource\"", "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"res"} {
		// It ends, but the client still listens.
		c := patient.dial()
		c.send("POST /acquire HTTP/1.1\r\nHost: x\r\nX-LOCKSERVER-SECRET: " + secret + "\r\n" + half)
		require.NoError(t, c.Conn.(*net.TCPConn).CloseWrite())
		got := c.answer()
		require.Equal(t, 400, got.status)
		require.Equal(t, "body", got.body["field"])
		require.Contains(t, got.body["detail"], "ends before its announced length")

		// It does not go on.
		c = s.dial()
		c.send("POST /acquire HTTP/1.1\r\nHost: x\r\nX-LOCKSERVER-SECRET: " + secret + "\r\n" + half)
		got = c.answer()
		require.Equal(t, 400, got.status)
		require.Contains(t, got.body["detail"], "did not come in time")
		c.ended()
	}
	c := patient.dial()
	c.send("POST /acquire HTTP/1.1\r\nHost: x\r\nX-LOCKSERVER-SECRET: " + secret + "\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n")
	require.Equal(t, "body", c.answer().body["field"])
}

func TestSlowHeadersEndTheConnection(t *testing.T) {
	t.Parallel()
	s := start(t, setup{headerTimeout: time.Second})
	for _, begun := range []string{"", "POST /acq", "POST /acquire HTTP/1.1\r\nHost: x\r\n"} {
		c := s.dial()
		c.send(begun)
		// net/http may say why, before it closes.
		_, err := io.Copy(io.Discard, c.reader)
		require.NoError(t, err, "the connection is still open")
	}
}

// The time for a body is over long before the wait: the request must still be there.
func TestWaitOutlivesTheTimeForTheBody(t *testing.T) {
	t.Parallel()
	s := start(t, setup{headerTimeout: 500 * time.Millisecond})
	require.Equal(t, 200, s.acquire(`{"resource":"r","owner":"o"}`).status)
	c := s.dial()
	c.send(acquireRequest(`{"resource":"r","owner":"p","wait":1.5}`))
	got := c.answer()
	require.Equal(t, "locked", got.code())
	require.Zero(t, s.engine.Stats().Left[lock.WhyGone], "it was taken for one that went away")
	c.send(acquireRequest(`{"resource":"s","owner":"p"}`))
	require.Equal(t, 200, c.answer().status, "the connection lives on")
}

func TestChunkedBodyAndContinue(t *testing.T) {
	s := start(t, setup{})
	c := s.dial()
	c.send("POST /acquire HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + secret + "\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
	resp, err := http.ReadResponse(c.reader, nil)
	require.NoError(t, err)
	require.Equal(t, 100, resp.StatusCode)
	c.send("5\r\n{\"res\r\n17\r\nource\":\"r\",\"owner\":\"o\"}\r\n0\r\n\r\n")
	require.Equal(t, 200, c.answer().status)
	c.send(acquireRequest(`{"resource":"s","owner":"o"}`))
	require.Equal(t, 200, c.answer().status, "the connection is used again")
}

// A waiter whose client hangs up is gone at once, and the lock goes to the next.
func TestHangUpWhileWaiting(t *testing.T) {
	s := start(t, setup{})
	require.Equal(t, 200, s.acquire(`{"resource":"r","owner":"o"}`).status)
	first, second := s.dial(), s.dial()
	first.send(acquireRequest(`{"resource":"r","owner":"p","wait":60}`))
	s.eventually("first is parked", func() bool { return s.waiting() == 1 })
	second.send(acquireRequest(`{"resource":"r","owner":"q","wait":60}`))
	s.eventually("second is parked", func() bool { return s.waiting() == 2 })
	const waits = 2 * time.Millisecond // answers tell whole milliseconds
	waited := time.After(waits)
	require.NoError(t, first.Close())
	s.eventually("first is gone", func() bool { return s.waiting() == 1 })
	<-waited
	require.Equal(t, 200, s.release(`{"resource":"r","owner":"o"}`).status)
	got := second.answer()
	require.Equal(t, 200, got.status)
	require.Equal(t, "q", got.body["owner"])
	require.GreaterOrEqual(t, seconds(t, got.body["waited"]), waits.Seconds())
}

// With an id the place is kept, absent.
func TestHangUpWithAnIDKeepsThePlace(t *testing.T) {
	s := start(t, setup{})
	require.Equal(t, 200, s.acquire(`{"resource":"r","owner":"o"}`).status)
	c := s.dial()
	c.send(acquireRequest(`{"resource":"r","owner":"p","id":"i","wait":60}`))
	s.eventually("parked", func() bool { return s.waiting() == 1 })
	require.NoError(t, c.Close())
	s.eventually("absent", func() bool {
		queue := s.do("GET", "/lock?resource=r", "").body["queue"].([]any)
		return len(queue) == 1 && queue[0].(map[string]any)["present"] == false
	})
	c = s.dial()
	c.send(acquireRequest(`{"resource":"r","owner":"p","id":"i","wait":60}`))
	s.eventually("present", func() bool {
		return s.do("GET", "/lock?resource=r", "").body["queue"].([]any)[0].(map[string]any)["present"] == true
	})
	require.Equal(t, 200, s.release(`{"resource":"r","owner":"o"}`).status)
	require.Equal(t, 200, c.answer().status)
}

func TestHangUpAtEachStageLeavesNothing(t *testing.T) {
	s := start(t, setup{})
	whole := acquireRequest(`{"resource":"r","owner":"o","wait":5}`)
	for n := range len(whole) - 1 {
		c := s.dial()
		c.send(whole[:n])
		require.NoError(t, c.Close())
	}
	require.Equal(t, 404, s.do("GET", "/lock?resource=r", "").status, "half a request took the lock")
	require.Zero(t, s.waiting())
}

func TestConnectionLimit(t *testing.T) {
	s := start(t, setup{maxConnections: 3})
	var open []*raw
	for range 3 {
		c := s.dial()
		c.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		require.Equal(t, 200, c.answer().status)
		open = append(open, c)
	}
	more := s.dial()
	_, _ = io.WriteString(more, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") // it may be closed already
	more.ended()
	require.NoError(t, open[0].Close())
	s.eventually("room again", func() bool {
		c := s.dial()
		defer c.Close()
		if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			return false
		}
		resp, err := http.ReadResponse(c.reader, nil)
		return err == nil && resp.StatusCode == http.StatusOK
	})
	open[1].send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	require.Equal(t, 200, open[1].answer().status, "the others were not touched")
}

// A body without an announced length is cut where it gets too long.
func TestLimitOfAChunkedBody(t *testing.T) {
	s := start(t, setup{})
	for more, status := range []int{200, 413} {
		c := s.dial()
		body := `{"resource":"r","owner":"o"}`
		body += strings.Repeat(" ", 64<<10-len(body)+more)
		c.send(fmt.Sprintf("POST /acquire HTTP/1.1\r\nHost: x\r\nX-LOCKSERVER-SECRET: %s\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", secret, len(body), body))
		require.Equal(t, status, c.answer().status)
	}
}

func TestHTTP10(t *testing.T) {
	s := start(t, setup{})
	c := s.dial()
	c.send("POST /acquire HTTP/1.0\r\nX-LOCKSERVER-SECRET: " + secret + "\r\nContent-Length: 28\r\n\r\n" + `{"resource":"r","owner":"o"}`)
	require.Equal(t, 200, c.answer().status)
	c.ended()
}
