package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Whatever comes in, there is a clear answer, and the server lives on and has locked nothing.
func TestBadInput(t *testing.T) {
	t.Parallel()
	s := launch{args: []string{"--store", "memory"}}.start(t)
	good := `{"resource":"r","owner":"o"}`
	for name, c := range map[string]struct {
		line, body  string
		status      int
		code, field string
	}{
		"empty":           {"", "", 400, "invalid_request", "body"},
		"huge":            {"", strings.Repeat(" ", 64<<10) + good, 413, "too_large", ""},
		"truncated":       {"", good[:25], 400, "invalid_request", "owner"},
		"trailing":        {"", good + good, 400, "invalid_request", "body"},
		"non-UTF-8":       {"", "{\"resource\":\"r\xff\",\"owner\":\"o\"}", 400, "invalid_request", "resource"},
		"lone surrogate":  {"", `{"resource":"\ud800","owner":"o"}`, 400, "invalid_request", "resource"},
		"NaN":             {"", `{"resource":"r","owner":"o","expire":NaN}`, 400, "invalid_request", "expire"},
		"wrong type":      {"", `{"resource":"r","owner":"o","wait":"5"}`, 400, "invalid_request", "wait"},
		"an array":        {"", `["r","o"]`, 400, "invalid_request", "body"},
		"repeated":        {"", `{"resource":"r","owner":"o","owner":"p"}`, 400, "invalid_request", "owner"},
		"unknown":         {"", `{"resource":"r","owner":"o","expires":30}`, 400, "invalid_request", "expires"},
		"missing":         {"", `{"resource":"r"}`, 400, "invalid_request", "owner"},
		"eleven years":    {"", `{"resource":"r","owner":"o","expire":346896000}`, 400, "invalid_request", "expire"},
		"limit and mode":  {"", `{"resource":"r","owner":"o","limit":2,"mode":"shared"}`, 400, "invalid_request", "limit"},
		"wrong method":    {"GET /acquire", good, 405, "method_not_allowed", ""},
		"wrong path":      {"POST /acquires", good, 404, "not_found", ""},
		"wrong parameter": {"GET /locks?prefxi=r", "", 400, "invalid_request", "prefxi"},
		"query on a POST": {"POST /acquire?wait=3", good, 400, "invalid_request", "wait"},
	} {
		t.Run(name, func(t *testing.T) {
			if c.line == "" {
				c.line = "POST /acquire"
			}
			resp := exchange(t, s.addr, fmt.Sprintf("%s HTTP/1.1\r\nHost: x\r\nX-LOCKSERVER-SECRET: %s\r\nContent-Length: %d\r\n\r\n%s", c.line, secret, len(c.body), c.body))
			require.Equal(t, c.status, resp.StatusCode)
			require.True(t, strings.HasPrefix(resp.Header.Get("Server"), "lockserver/"))
			require.Equal(t, "application/problem+json", resp.Header.Get("Content-Type"))
			var got answer
			require.NoError(t, json.NewDecoder(resp.Body).Decode(&got))
			require.Equal(t, c.code, got.Code)
			require.Equal(t, c.field, got.Field)
			if c.field != "" {
				require.Contains(t, got.Detail, "allowed: ")
				require.Contains(t, got.Detail, c.field)
			}
		})
	}
	c := newClient(t, s.url)
	require.Equal(t, 404, c.show(t, "r").status)
	require.Equal(t, 200, c.acquire(t, fields{"resource": "r", "owner": "o"}).status)
}

func exchange(t *testing.T, addr, request string) *http.Response {
	t.Helper()
	conn := dial(t, addr)
	_, err := io.WriteString(conn, request)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// A client that hangs up at any point of its request leaves nothing behind.
func TestHangUpAtEachStage(t *testing.T) {
	t.Parallel()
	s := launch{args: []string{"--store", "memory"}}.start(t)
	c := newClient(t, s.url)
	body := `{"resource":"r","owner":"o","wait":60}`
	request := fmt.Sprintf("POST /acquire HTTP/1.1\r\nHost: x\r\nX-LOCKSERVER-SECRET: %s\r\nContent-Length: %d\r\n\r\n%s", secret, len(body), body)
	for n := range len(request) {
		conn := dial(t, s.addr)
		_, err := io.WriteString(conn, request[:n])
		require.NoError(t, err)
		if n%2 == 0 {
			require.NoError(t, conn.(*net.TCPConn).SetLinger(0))
		}
		require.NoError(t, conn.Close())
	}
	require.Equal(t, 404, c.show(t, "r").status)

	// Parked.
	held := c.acquire(t, fields{"resource": "r", "owner": "holder"})
	require.Equal(t, 200, held.status)
	conn := dial(t, s.addr)
	_, err := io.WriteString(conn, request)
	require.NoError(t, err)
	c.parked(t, "r", 1)
	require.NoError(t, conn.Close())
	c.parked(t, "r", 0)
	require.Equal(t, 200, c.release(t, fields{"resource": "r", "owner": "holder"}).status)
	require.Equal(t, 404, c.show(t, "r").status)
}
