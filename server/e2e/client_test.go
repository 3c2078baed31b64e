package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// answer has the members of all answers.
type answer struct {
	status int
	header http.Header
	text   []byte

	Code     string
	Field    string
	Reason   string
	Detail   string
	Owner    string
	ID       string
	Token    int64
	Outcome  string
	Position int

	ExpiresIn *float64 `json:"expires_in"`
	Waited    float64

	Holders []holder
	Queue   []struct {
		Owner   string
		Present bool
	}
	Waiters int
}

type holder struct {
	Owner     string
	ID        string
	Token     int64
	ExpiresIn *float64 `json:"expires_in"`
}

// client speaks to one server, over connections of its own.
type client struct {
	url       string
	transport *http.Transport
}

func newClient(t *testing.T, url string) *client {
	c := &client{url: url, transport: &http.Transport{MaxIdleConnsPerHost: 1000}}
	t.Cleanup(c.transport.CloseIdleConnections)
	return c
}

// try sends a request; the error is one of the connection.
func (c *client) try(ctx context.Context, method, path string, body any) (answer, error) {
	content, err := json.Marshal(body)
	if err != nil {
		return answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, c.url+path, bytes.NewReader(content))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("X-LOCKSERVER-SECRET", secret)
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, err
	}
	a.text = text
	if err := json.Unmarshal(text, &a); err != nil {
		return answer{}, fmt.Errorf("%q: %w", text, err)
	}
	return a, nil
}

// fields are the members of a request.
type fields map[string]any

func (c *client) do(t *testing.T, method, path string, body any) answer {
	t.Helper()
	a, err := c.try(t.Context(), method, path, body)
	require.NoError(t, err)
	return a
}

func (c *client) acquire(t *testing.T, f fields) answer {
	t.Helper()
	return c.do(t, "POST", "/acquire", f)
}

func (c *client) release(t *testing.T, f fields) answer {
	t.Helper()
	return c.do(t, "POST", "/release", f)
}

func (c *client) show(t *testing.T, resource string) answer {
	t.Helper()
	return c.do(t, "GET", "/lock?resource="+url.QueryEscape(resource), nil)
}

// later is an acquire that waits, and its answer when it comes.
func (c *client) later(t *testing.T, f fields) <-chan answer {
	answers := make(chan answer, 1)
	ctx := t.Context()
	go func() {
		defer close(answers)
		a, err := c.try(ctx, "POST", "/acquire", f)
		if err != nil {
			t.Errorf("acquire %v: %v", f, err)
			return
		}
		answers <- a
	}()
	return answers
}

// parked waits until so many requests wait for a resource.
func (c *client) parked(t *testing.T, resource string, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		present := 0
		for _, w := range c.show(t, resource).Queue {
			if w.Present {
				present++
			}
		}
		return present == n
	}, patience, time.Millisecond, "%d waiters", n)
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}
