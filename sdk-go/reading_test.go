package lockserver

import (
	"context"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// quickly makes requests one after the other, until each reads for itself, and returns their session.
func quickly(t *testing.T, client *piped) *session {
	t.Helper()
	for range 3 {
		showNothing(t, client)
	}
	s := client.transport.(*sessionTransport).current()
	requireReader(t, s, byNobody)
	return s
}

func showNothing(t *testing.T, client *piped) {
	t.Helper()
	_, err := client.Show(context.Background(), "r")
	require.ErrorIs(t, err, ErrNotFound)
}

func requireReader(t *testing.T, s *session, want reader) {
	t.Helper()
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Equal(t, want, s.reading.by)
}

// tellable answers shows with not_found and acquires as chosen, and gives the test the connection.
func tellable(acquire func(conn net.Conn, r asked)) (serve func(int) func(net.Conn), conns chan net.Conn) {
	conns = make(chan net.Conn, 10)
	return func(int) func(net.Conn) {
		return func(conn net.Conn) {
			conns <- conn
			each(func(r asked) string {
				switch r.Op {
				case "acquire":
					acquire(conn, r)
					return ""
				case "release":
					return freedOf(r)
				}
				return problemOf(r, 404, ErrNotFound)
			})(conn)
		}
	}, conns
}

func TestQuickRequestsReadForThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serve, _ := tellable(nil)
		client := newPiped(t, serve)
		s := quickly(t, client)
		time.Sleep(2 * turn)
		requireReader(t, s, byGoroutine) // whatever comes is seen

		showNothing(t, client)
		time.Sleep(2 * turn)
		showNothing(t, client)
		requireReader(t, s, byGoroutine) // they are not quick
		require.NoError(t, client.Close())
	})
}

// A request that reads for long is relieved, so that it sees the end of its context and of its client, and its session the next request.
func TestARequestThatReadsIsRelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serve, _ := tellable(func(net.Conn, asked) {})
		client := newPiped(t, serve)
		for name, limit := range map[string]time.Duration{"longer than a turn": time.Second, "shorter": turn} {
			s := quickly(t, client)
			began := time.Now()
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			_, err := client.Acquire(ctx, "r")
			cancel()
			require.ErrorIs(t, err, context.DeadlineExceeded, name)
			require.Equal(t, limit, time.Since(began), name)
			requireReader(t, s, byGoroutine)
		}

		quickly(t, client)
		ctx, cancel := context.WithCancel(context.Background())
		time.AfterFunc(turn/2, cancel)
		began := time.Now()
		_, err := client.Acquire(ctx, "r")
		require.ErrorIs(t, err, context.Canceled)
		require.LessOrEqual(t, time.Since(began), 2*turn)

		s := quickly(t, client)
		failed := make(chan error)
		go func() {
			_, err := client.Acquire(context.Background(), "r")
			failed <- err
		}()
		requireReader(t, s, byRequest)
		began = time.Now()
		require.NoError(t, client.Close())
		require.ErrorIs(t, <-failed, net.ErrClosed)
		require.Zero(t, time.Since(began), "it did not wait for the end of a turn")
	})
}

// What a request has read of an answer is not lost when it is relieved, wherever that is.
func TestAReliefInTheMiddleOfAnAnswer(t *testing.T) {
	for cut := 1; cut < 12; cut++ {
		synctest.Test(t, func(t *testing.T) {
			serve, _ := tellable(func(conn net.Conn, r asked) {
				answer := fmt.Sprintf(`{"seq":%d,"status":200,"token":7,"expires_in":null,"waited":0,"note":"%0200d"}`, r.Seq, 0)
				frame := ws.MustCompileFrame(ws.NewTextFrame([]byte(answer)))
				_, _ = conn.Write(frame[:cut])
				time.Sleep(5 * turn)
				_, _ = conn.Write(frame[cut:])
			})
			client := newPiped(t, serve)
			s := quickly(t, client)
			began := time.Now()
			lock, err := client.Acquire(context.Background(), "r")
			require.NoError(t, err)
			require.Equal(t, int64(7), lock.Token())
			require.Equal(t, 5*turn, time.Since(began))
			requireReader(t, s, byGoroutine)
			require.NoError(t, client.Close())
		})
	}
}

// A request that reads passes on what is for others, and a goroutine goes on for them.
func TestARequestReadsForOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first asked
		serve, _ := tellable(func(conn net.Conn, r asked) {
			if first.Seq == 0 {
				first = r
				return
			}
			for _, r := range []asked{r, first} {
				time.Sleep(turn / 10)
				write(conn, ws.NewTextFrame([]byte(grantOf(r))))
			}
		})
		client := newPiped(t, serve)
		s := quickly(t, client)
		locks := make(chan *Lock)
		for range 2 {
			go func() {
				lock, err := client.Acquire(context.Background(), "r")
				if err != nil {
					t.Error(err)
				}
				locks <- lock
			}()
			requireReader(t, s, byRequest)
		}
		<-locks
		<-locks
		require.NoError(t, client.Close())
	})
}

// Where nobody reads, a loss and the end of the connection are seen soon.
func TestWhatComesWhileNobodyReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		serve, conns := tellable(func(conn net.Conn, r asked) { write(conn, ws.NewTextFrame([]byte(grantOf(r)))) })
		client := newPiped(t, serve)
		lock, err := client.Acquire(context.Background(), "r")
		require.NoError(t, err)
		quickly(t, client)
		conn := <-conns
		began := time.Now()
		write(conn, ws.NewTextFrame([]byte(`{"event":"lost","resource":"r","owner":"o","token":7,"reason":"evicted"}`)))
		<-lock.Done()
		require.LessOrEqual(t, time.Since(began), 2*turn)
		require.ErrorContains(t, lock.Err(), "evicted")

		s := quickly(t, client)
		require.NoError(t, conn.Close())
		time.Sleep(2 * turn)
		synctest.Wait()
		require.NotSame(t, s, client.transport.(*sessionTransport).current())
		showNothing(t, client)
		require.Equal(t, 2, client.sessions)
		require.NoError(t, client.Close())
	})
}
