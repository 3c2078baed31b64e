package lockserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// These tests are about what takes seconds and minutes, and so have a clock of their own and connections without a network.

// asked is what a server in these tests is asked.
type asked struct {
	Seq  int64
	Op   string
	ID   string
	Wait float64
}

// piped is a server whose nth session is served by serve; where that is nil, nobody listens.
type piped struct {
	*Client
	asks     int
	sessions int
}

func newPiped(t *testing.T, serve func(n int) func(net.Conn)) *piped {
	client, err := New(WithSecret("over-a-pipe-0123"), WithoutDotEnv(), WithTransport(Session))
	require.NoError(t, err)
	p := &piped{Client: client}
	sessions := client.transport.(*sessionTransport)
	sessions.ask = func(_ context.Context, over *httpTransport) (*session, outcome, bool) {
		p.asks++
		f := serve(p.asks)
		if f == nil {
			return nil, outcome{reason: "nobody listens", cause: net.ErrClosed, unsent: true}, false
		}
		p.sessions++
		near, far := net.Pipe()
		go f(far)
		s := newSession(sessions, over, near, nil)
		s.conn = near
		return s, outcome{}, false
	}
	return p
}

// each serves requests with answers, of which "" is none, and pings with pongs.
func each(answer func(asked) string) func(net.Conn) {
	return func(conn net.Conn) {
		defer conn.Close()
		for {
			header, err := ws.ReadHeader(conn)
			if err != nil {
				return
			}
			text := make([]byte, header.Length)
			if _, err := io.ReadFull(conn, text); err != nil {
				return
			}
			ws.Cipher(text, header.Mask, 0)
			if header.OpCode == ws.OpPing {
				write(conn, ws.NewPongFrame(text))
				continue
			}
			if text[0] != '[' {
				text = []byte("[" + string(text) + "]")
			}
			var requests []asked
			if json.Unmarshal(text, &requests) != nil {
				return
			}
			for _, r := range requests {
				go func() {
					if a := answer(r); a != "" {
						write(conn, ws.NewTextFrame([]byte(a)))
					}
				}()
			}
		}
	}
}

// write writes a frame at once, as others may write at the same time. The client may be gone.
func write(conn net.Conn, frame ws.Frame) { _, _ = conn.Write(ws.MustCompileFrame(frame)) }

// swallow reads, and says nothing.
func swallow(conn net.Conn) {
	for {
		if _, err := conn.Read(make([]byte, 1024)); err != nil {
			return
		}
	}
}

func grantOf(r asked) string {
	return fmt.Sprintf(`{"seq":%d,"status":200,"token":7,"expires_in":null,"waited":0}`, r.Seq)
}

func freedOf(r asked) string {
	return fmt.Sprintf(`{"seq":%d,"status":200,"outcome":"released"}`, r.Seq)
}

func problemOf(r asked, status int, code Code) string {
	return fmt.Sprintf(`{"seq":%d,"status":%d,"code":%q}`, r.Seq, status, string(code))
}

// One request waits for as long as it takes; only pings tell that the server is alive.
func TestAWaitOfASessionIsOneRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var waits []float64
		client := newPiped(t, func(int) func(net.Conn) {
			return each(func(r asked) string {
				waits = append(waits, r.Wait)
				time.Sleep(10 * time.Minute)
				return grantOf(r)
			})
		})
		_, err := client.Acquire(context.Background(), "r")
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
		defer cancel()
		_, err = client.Acquire(ctx, "r")
		require.NoError(t, err)
		require.Equal(t, []float64{315360000, 3599.75}, waits)
		require.Equal(t, 1, client.sessions)
		require.NoError(t, client.Close())
	})
}

// A session on which a request gets neither an answer nor any sign of life is left, and the same is asked on another.
func TestASilentSessionIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newPiped(t, func(n int) func(net.Conn) {
			if n == 1 {
				return swallow
			}
			return each(grantOf)
		})
		began := time.Now()
		_, err := client.Acquire(context.Background(), "r")
		require.NoError(t, err)
		require.Equal(t, figureHop+figureAnswer, time.Since(began))
		require.Equal(t, 2, client.sessions)
		require.NoError(t, client.Close())
	})
}

func TestAnIdleSessionEndsAfterTwoPings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gone := make(chan time.Time, 1)
		client := newPiped(t, func(int) func(net.Conn) {
			return func(conn net.Conn) {
				header, err := ws.ReadHeader(conn)
				if err != nil {
					t.Error(err)
				}
				_, _ = conn.Read(make([]byte, header.Length))
				write(conn, ws.NewTextFrame([]byte(problemOf(asked{Seq: 1}, 404, ErrNotFound))))
				swallow(conn)
				gone <- time.Now()
			}
		})
		_, err := client.Show(context.Background(), "r")
		require.ErrorIs(t, err, ErrNotFound)
		heard := time.Now()
		require.Equal(t, 3*figureSessionPing, (<-gone).Sub(heard))
		require.NoError(t, client.Close())
	})
}

// A wait that a server has held for long, and refuses as it shuts down, has patience for the next one to come up.
func TestAWaitOutlivesItsServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ids []string
		began := time.Now()
		const held, away = 5 * time.Minute, 40 * time.Second
		client := newPiped(t, func(n int) func(net.Conn) {
			if n > 1 && time.Since(began) < held+away {
				return nil
			}
			return func(conn net.Conn) {
				each(func(r asked) string {
					ids = append(ids, r.ID)
					if n > 1 {
						return grantOf(r)
					}
					if len(ids) > 1 {
						return "" // it came before the end of the session was seen
					}
					time.Sleep(held)
					write(conn, ws.NewTextFrame([]byte(problemOf(r, 503, ErrDraining))))
					_ = conn.Close()
					return ""
				})(conn)
			}
		})
		_, err := client.Acquire(context.Background(), "r")
		require.NoError(t, err)
		require.Greater(t, len(ids), 1)
		require.Len(t, slices.Compact(ids), 1)
		require.NoError(t, client.Close())
	})
}

// An answer that is retried is no sign of life, and neither is silence.
func TestPatienceWithASession(t *testing.T) {
	for name, serve := range map[string]func(net.Conn){
		"refusing": each(func(r asked) string { return problemOf(r, 503, ErrStoreUnavailable) }),
		"silent":   swallow,
		"away":     nil,
	} {
		synctest.Test(t, func(t *testing.T) {
			client := newPiped(t, func(int) func(net.Conn) { return serve })
			began := time.Now()
			_, err := client.Acquire(context.Background(), "r")
			require.ErrorIs(t, err, ErrConnectionFailed, name)
			took := time.Since(began)
			require.GreaterOrEqual(t, took, figureSilence, name)
			require.LessOrEqual(t, took, figureSilence+figureHop+figureAnswer+figureCleanup, name)
			require.NoError(t, client.Close())
		})
	}
}

// A thousand calls ask for a session no more often than one does.
func TestManyCallsMakeNoStorm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newPiped(t, func(int) func(net.Conn) { return nil })
		var all sync.WaitGroup
		for range 1000 {
			all.Go(func() {
				if _, err := client.Show(context.Background(), "r"); !errors.Is(err, ErrConnectionFailed) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		// Two at once; then pauses of 50 ms to 2 s, shortened by half at most.
		require.Less(t, client.asks, 45)
		require.Greater(t, client.asks, 15)
		require.NoError(t, client.Close())
	})
}

// HTTP is used where a session is refused, and nobody waits for the next try.
func TestASessionIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, err := New(WithSecret("over-a-pipe-0123"), WithoutDotEnv(), WithTransport(Auto))
		require.NoError(t, err)
		sessions := client.transport.(*sessionTransport)
		sessions.servers.current().pool = over200{}
		var asks []time.Duration
		began := time.Now()
		sessions.ask = func(_ context.Context, over *httpTransport) (*session, outcome, bool) {
			asks = append(asks, time.Since(began).Truncate(time.Minute))
			switch len(asks) {
			case 1:
				return nil, outcome{}, true
			case 2:
				return nil, outcome{reason: "nobody listens", cause: net.ErrClosed, unsent: true}, false
			}
			near, far := net.Pipe()
			go each(func(r asked) string {
				return fmt.Sprintf(`{"seq":%d,"status":200,"resource":"session","holders":[]}`, r.Seq)
			})(far)
			return newSession(sessions, over, near, nil), outcome{}, false
		}
		var over []string
		for range 40 {
			before := time.Now()
			info, err := client.Show(context.Background(), "r")
			require.NoError(t, err)
			require.Equal(t, before, time.Now(), "it waits for nothing")
			if n := len(over); n == 0 || over[n-1] != info.Resource {
				over = append(over, info.Resource)
			}
			time.Sleep(5 * time.Second)
		}
		require.Equal(t, []time.Duration{0, time.Minute, 2 * time.Minute}, asks)
		require.Equal(t, []string{"HTTP", "session"}, over)
		require.NoError(t, client.Close())
	})
}

// over200 answers every request over HTTP.
type over200 struct{}

func (over200) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, ContentLength: -1, Body: io.NopCloser(strings.NewReader(`{"resource":"HTTP","holders":[]}`))}, nil
}

// A connection that takes nothing holds up nobody beyond the call's context, not even whoever was first to write.
func TestNoCallWaitsForAConnectionThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newPiped(t, func(int) func(net.Conn) { return func(net.Conn) {} })
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := client.Show(ctx, "r")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 100*time.Millisecond, time.Since(began))
		require.NoError(t, client.Close())
	})
}
