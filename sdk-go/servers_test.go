package lockserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws/wsutil"
	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

// refuser answers every request in the same way, and counts those that are not there to clean up.
func refuser(t *testing.T, status int, header, body string) (addr string, asked *atomic.Int32) {
	asked = new(atomic.Int32)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/release" {
			asked.Add(1)
		}
		w.Header().Set("Content-Type", "application/problem+json")
		if header != "" {
			w.Header().Set("Retry-After", header)
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), asked
}

const noLeader = `{"code":"no_leader","status":503}`

// Each server is asked once before the client pauses, and then as long as the one that asks for most wants it to.
func TestARoundBeforeAPause(t *testing.T) {
	for _, transport := range []lockserver.Transport{lockserver.HTTP, lockserver.Session} {
		t.Run(string(transport), func(t *testing.T) {
			one, asksOne := refuser(t, 503, "60", noLeader)
			two, asksTwo := refuser(t, 503, "", noLeader)
			client := newClient(t, lockserver.WithAddr(one, two), lockserver.WithSecret("s"), lockserver.WithTransport(transport))
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			_, err := client.Acquire(ctx, "r")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.EqualValues(t, 1, asksOne.Load())
			require.EqualValues(t, 1, asksTwo.Load())
		})
	}
}

// Whatever is no failure of the server's is the last word.
func TestNoOtherServerIsAskedInVain(t *testing.T) {
	for status, body := range map[int]string{
		401: `{"code":"unauthorized","status":401}`, 429: `{"code":"too_many_locks","status":429}`, 404: "not found", 507: `{"code":"other","status":507}`,
	} {
		for _, transport := range []lockserver.Transport{lockserver.HTTP, lockserver.Session} {
			one, asksOne := refuser(t, status, "", body)
			two, asksTwo := refuser(t, status, "", body)
			client := newClient(t, lockserver.WithAddr(one, two), lockserver.WithSecret("s"), lockserver.WithTransport(transport))
			_, err := client.Acquire(t.Context(), "r")
			require.Error(t, err)
			require.EqualValues(t, 1, asksOne.Load())
			refusesSessions := transport == lockserver.Session && (status == 404 || status == 507)
			require.Equal(t, refusesSessions, asksTwo.Load() == 1, "%d: another may have sessions", status)
		}
	}
}

// That a call ran out of time while the server held it is not that server's fault.
func TestAServerThatHoldsARequestIsKept(t *testing.T) {
	var one, two atomic.Int32
	holds := func(asked *atomic.Int32) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked.Add(1)
			if r.URL.Path == "/release" {
				_, _ = w.Write([]byte(`{"outcome":"cancelled"}`))
				return
			}
			_, _ = io.Copy(io.Discard, r.Body) // else the end of the connection is not noticed
			<-r.Context().Done()
		}))
		t.Cleanup(server.Close)
		return strings.TrimPrefix(server.URL, "http://")
	}
	client := newClient(t, lockserver.WithAddr(holds(&one), holds(&two)), lockserver.WithSecret("s"), lockserver.WithTransport(lockserver.HTTP))
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := client.Acquire(ctx, "r")
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	require.EqualValues(t, 6, one.Load())
	require.Zero(t, two.Load())
}

// A request without an id, token or answer is not sent to the next server either.
func TestAReleaseByOwnerIsSentToOneServer(t *testing.T) {
	var asked [2]atomic.Int32
	addrs := make([]string, len(asked))
	for i := range asked {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			asked[i].Add(1)
			if i == 0 {
				panic(http.ErrAbortHandler)
			}
			_, _ = w.Write([]byte(`{"outcome":"released"}`))
		}))
		t.Cleanup(server.Close)
		addrs[i] = server.Listener.Addr().String()
	}
	client := newClient(t, lockserver.WithAddr(addrs...), lockserver.WithTransport(lockserver.HTTP))
	requireCode(t, client.Release(t.Context(), "r"), lockserver.ErrConnectionFailed)
	require.EqualValues(t, 1, asked[0].Load())
	require.Zero(t, asked[1].Load())
	require.NoError(t, client.Release(t.Context(), "r"), "the next call begins where the last one did not fail")
}

// The errors of a list say which of its addresses is wrong.
func TestBadAddressOfAList(t *testing.T) {
	for list, want := range map[string]string{
		"a,b c,d":                 `the address "b c" (2 of 3) is not an address`,
		"a,":                      `the address "" (2 of 2) is not an address`,
		"http://u:hunter2,x@h,b":  `the address "http://***@h,b" (1 of 3) is not an address`,
		"a:1,b:99999":             `the address "b:99999" (2 of 2) has a host or port that cannot be`,
		"https://a/x,b/x,c, d, e": `the address "b/x" (2 of 5) has a path but no http:// or https://`,
	} {
		_, err := lockserver.New(lockserver.WithAddr(list), lockserver.WithSecret("s"))
		require.ErrorContains(t, err, want)
	}
}

// A session whose server says that it cannot serve gets no new requests; who waits on it goes on to.
func TestASessionMovesOn(t *testing.T) {
	held := make(chan int64, 1)
	one := newScriptedSessions(t, func(conn net.Conn) {
		for {
			text, err := wsutil.ReadClientText(conn)
			if err != nil {
				return
			}
			var r sessionRequest
			if json.Unmarshal(text, &r) != nil {
				return
			}
			if r.Resource == "waits" {
				held <- r.Seq
				continue
			}
			_ = wsutil.WriteServerText(conn, fmt.Appendf(nil, `{"seq":%d,"code":"draining","status":503,"title":"t","detail":"d"}`, r.Seq))
			_ = wsutil.WriteServerText(conn, []byte(granted(<-held, 7)))
		}
	})
	two := newScriptedSessions(t, answering(func(r sessionRequest) string { return granted(r.Seq, 8) }))
	client := newClient(t, lockserver.WithAddr(one.URL, two.URL), lockserver.WithTransport(lockserver.Session), withBounds(quick))
	waits := make(chan int64)
	go func() {
		if lock, err := client.Acquire(within(t, soon), "waits"); err == nil {
			waits <- lock.Token()
		}
		close(waits)
	}()
	held <- <-held // the server has it
	lock, err := client.Acquire(within(t, soon), "r")
	require.NoError(t, err)
	require.EqualValues(t, 8, lock.Token())
	require.EqualValues(t, 7, <-waits)
	require.EqualValues(t, 1, two.made.Load())
}
