package lockserver_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

// scriptedSessions is a server of sessions that answers each request with what answer returns; "" is nothing.
type scriptedSessions struct {
	*httptest.Server
	made atomic.Int64
}

func newScriptedSessions(t *testing.T, serve func(net.Conn)) *scriptedSessions {
	s := &scriptedSessions{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		upgrader := ws.HTTPUpgrader{Protocol: func(p string) bool { return p == "lockserver.v1" }}
		conn, _, _, err := upgrader.Upgrade(r, w)
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		s.made.Add(1)
		serve(conn)
	}))
	t.Cleanup(s.Close)
	return s
}

type sessionRequest struct {
	Seq          int64
	Op, Resource string
}

// answering serves each request by itself or in an array, until the client is gone.
func answering(answer func(r sessionRequest) string) func(net.Conn) {
	return func(conn net.Conn) {
		for {
			text, err := wsutil.ReadClientText(conn)
			if err != nil {
				return
			}
			if text[0] != '[' {
				text = []byte("[" + string(text) + "]")
			}
			var requests []sessionRequest
			if json.Unmarshal(text, &requests) != nil {
				return
			}
			for _, r := range requests {
				if a := answer(r); a != "" && wsutil.WriteServerText(conn, []byte(a)) != nil {
					return
				}
			}
		}
	}
}

func granted(seq, token int64) string {
	return fmt.Sprintf(`{"seq":%d,"status":200,"resource":"r","owner":"o","mode":"exclusive","token":%d,"expires_in":null,"waited":0}`, seq, token)
}

func free(seq int64) string {
	return fmt.Sprintf(`{"seq":%d,"code":"not_found","status":404,"title":"t","detail":"d"}`, seq)
}

func overSession(t *testing.T, s *scriptedSessions, opts ...lockserver.Option) *lockserver.Client {
	return newClient(t, append([]lockserver.Option{lockserver.WithAddr(s.URL), lockserver.WithTransport(lockserver.Session)}, opts...)...)
}

// One answer that does not come ends no session on which others do.
func TestASessionOutlivesAnAnswerThatIsMissing(t *testing.T) {
	server := newScriptedSessions(t, answering(func(r sessionRequest) string {
		if r.Resource == "never" {
			return ""
		}
		return free(r.Seq)
	}))
	bounds := quick
	bounds.Answer = 300 * time.Millisecond
	client := overSession(t, server, withBounds(bounds))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, err := client.Show(within(t, time.Second), "never")
		if err == nil {
			t.Error("there is no answer")
		}
	}()
	for asked := 0; ; asked++ {
		_, err := client.Show(within(t, soon), "r")
		require.ErrorIs(t, err, lockserver.ErrNotFound)
		select {
		case <-ended:
			require.EqualValues(t, 1, server.made.Load(), "sessions, after %d requests", asked)
			return
		case <-time.After(5 * time.Millisecond): // a little traffic
		}
	}
}

// A grant that the server takes back before the caller of Acquire has it does not pass for held.
func TestALossThatComesWithTheGrant(t *testing.T) {
	token := atomic.Int64{}
	server := newScriptedSessions(t, answering(func(r sessionRequest) string {
		switch n := token.Add(1); {
		case r.Op != "acquire":
			return fmt.Sprintf(`{"seq":%d,"code":"not_held","status":409,"title":"t","detail":"d","reason":"evicted"}`, r.Seq)
		case n%3 == 1:
			return fmt.Sprintf(`[{"event":"lost","resource":"r","owner":"o","token":%d,"reason":"evicted"},%s]`, n, granted(r.Seq, n))
		default:
			return granted(r.Seq, n)
		}
	}))
	client := overSession(t, server, withBounds(quick))
	for range 20 {
		token.Store(0)
		lock, err := client.Acquire(within(t, soon), "r")
		require.NoError(t, err)
		if lock.Token() == 1 {
			select {
			case <-lock.Done():
			case <-time.After(time.Second):
				t.Fatal("it was lost before, and passes for held")
			}
		}
	}
}
