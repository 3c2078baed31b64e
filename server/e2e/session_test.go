package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/stretchr/testify/require"
)

// wire is one session, of a client that asks for one thing at a time or writes by itself.
type wire struct {
	net.Conn
	seq int
}

func dialSession(ctx context.Context, addr string) (*wire, error) {
	d := ws.Dialer{Protocols: []string{"lockserver.v1"}, Header: ws.HandshakeHeaderHTTP{"X-LOCKSERVER-SECRET": []string{secret}}, Timeout: patience}
	conn, _, _, err := d.Dial(ctx, "ws://"+addr+"/session")
	if err != nil {
		return nil, err
	}
	return &wire{Conn: conn}, conn.SetDeadline(time.Now().Add(2 * patience))
}

// session is one that the test has to get.
func (p *process) session() *wire {
	p.t.Helper()
	w, err := dialSession(p.t.Context(), p.addr)
	require.NoError(p.t, err)
	p.t.Cleanup(func() { _ = w.Close() })
	return w
}

// request adds seq and op to the fields, which it keeps.
func (w *wire) request(op string, f fields) string {
	w.seq++
	f["seq"], f["op"] = w.seq, op
	text, err := json.Marshal(f)
	if err != nil {
		panic(err) // the fields are the test's
	}
	return string(text)
}

// write sends a message in one piece, so that a pong cannot get into the middle of it.
func (w *wire) write(text string) error {
	_, err := w.Write(ws.MustCompileFrame(ws.MaskFrameInPlace(ws.NewTextFrame([]byte(text)))))
	return err
}

// sessionAnswer is what comes on a session.
type sessionAnswer struct {
	Seq, Status   int
	Token         int64
	Code, Outcome string
}

func (w *wire) read() ([]sessionAnswer, error) {
	text, err := wsutil.ReadServerText(w)
	if err != nil {
		return nil, err
	}
	if text[0] != '[' {
		text = []byte("[" + string(text) + "]")
	}
	var all []sessionAnswer
	return all, json.Unmarshal(text, &all)
}

// ask waits for the answer to one request.
func (w *wire) ask(op string, f fields) (sessionAnswer, error) {
	if err := w.write(w.request(op, f)); err != nil {
		return sessionAnswer{}, err
	}
	for {
		all, err := w.read()
		if err != nil {
			return sessionAnswer{}, err
		}
		for _, a := range all {
			if a.Seq == w.seq {
				return a, nil
			}
		}
	}
}

// locks returns how many resources are locked or awaited.
func (c *client) locks(t *testing.T) int {
	t.Helper()
	var page struct{ Locks []any }
	a := c.do(t, "GET", "/locks", nil)
	require.Equal(t, 200, a.status)
	require.NoError(t, json.Unmarshal(a.text, &page))
	return len(page.Locks)
}

// Sessions that are cut at random moments, under load: never two at once, and with what was asked again by id nothing is left.
func TestCutSessionsUnderLoad(t *testing.T) {
	t.Parallel()
	for _, store := range []string{"memory", "disk:data"} {
		t.Run(store, func(t *testing.T) {
			t.Parallel()
			s := launch{args: []string{"--store", store}}.start(t)
			const workers, turns, resources = 24, 60, 3
			ctx := t.Context()
			var inside [resources]atomic.Int64
			var counted [resources]int // each guarded by the lock under test
			var cuts atomic.Int64
			var group sync.WaitGroup
			for i := range workers {
				group.Go(func() {
					r := i % resources
					var w *wire
					// ask comes back on a new session until there is an answer.
					ask := func(op string, f fields) (sessionAnswer, bool) {
						for ctx.Err() == nil {
							if w == nil {
								var err error
								if w, err = dialSession(ctx, s.addr); err != nil {
									t.Error(err)
									return sessionAnswer{}, false
								}
								conn := w.Conn
								time.AfterFunc(time.Duration(rand.IntN(40_000))*time.Microsecond, func() { _ = conn.Close(); cuts.Add(1) })
							}
							a, err := w.ask(op, f)
							if err == nil && a.Status == 202 {
								continue // what was sent on a session before was read only now, and took the place over
							}
							if err == nil {
								return a, true
							}
							_ = w.Close()
							w = nil
						}
						return sessionAnswer{}, false
					}
					for n := range turns {
						f := fields{"resource": fmt.Sprint(r), "owner": fmt.Sprint(i), "id": fmt.Sprint(n)}
						f["wait"] = 30
						a, ok := ask("acquire", f)
						if !ok || a.Status != 200 {
							t.Errorf("%v: %+v", f, a)
							return
						}
						if inside[r].Add(1) != 1 {
							t.Error("two at once")
						}
						counted[r]++
						inside[r].Add(-1)
						delete(f, "wait")
						if a, ok := ask("release", f); !ok || a.Status != 200 {
							t.Errorf("release of %v: %+v", f, a)
							return
						}
					}
				})
			}
			group.Wait()
			t.Logf("%d cuts", cuts.Load())
			require.Equal(t, workers*turns, counted[0]+counted[1]+counted[2])
			require.Zero(t, newClient(t, s.url).locks(t))
		})
	}
}

// A client that is gone for good, at whatever moment, leaves nothing but grants that it was given: those that it was not given go on.
func TestGoneSessionsLeaveOnlyWhatTheyWereGiven(t *testing.T) {
	t.Parallel()
	s := launch{args: []string{"--store", "memory"}}.start(t)
	c := newClient(t, s.url)
	for round := range 20 {
		w := s.session()
		var all []string
		for i := range 200 { // a lock and its release by id in the same message: whatever is read takes effect in order
			f := fields{"resource": fmt.Sprint(i), "owner": "o", "id": fmt.Sprint(round, "-", i)}
			all = append(all, w.request("acquire", f), w.request("release", f))
		}
		text := "[" + strings.Join(all, ",") + "]"
		frame := ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(text))))
		_, err := w.Write(frame[:rand.IntN(len(frame)+1)]) // cut in mid-message
		require.NoError(t, err)
		require.NoError(t, w.Close())
	}
	require.Eventually(t, func() bool { return c.locks(t) == 0 }, patience, 5*time.Millisecond)
	require.Eventually(t, func() bool { return s.descriptors() < 16 }, patience, 5*time.Millisecond, "connections are left")
}

// descriptors counts the open files of the process.
func (p *process) descriptors() int {
	p.t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	require.NoError(p.t, err)
	return len(list)
}

// A thousand waits that are parked over sessions outlive a killed server: asked again by id they all come back, and each is granted
// once, alone.
func TestKilledWithWaitsOverSessions(t *testing.T) {
	t.Parallel()
	const waits, sessions = 1000, 10
	dir := t.TempDir()
	start := func() *process { return launch{args: []string{"--store", "disk:" + dir + "/data"}}.start(t) }
	s := start()
	require.Equal(t, 200, newClient(t, s.url).acquire(t, fields{"resource": "r", "owner": "holder", "id": "first"}).status)
	park := func() []*wire {
		var all []*wire
		for i := range sessions {
			w := s.session()
			var requests []string
			for n := range waits / sessions {
				f := fields{"resource": "r", "owner": fmt.Sprint(i), "id": fmt.Sprint(i*waits + n), "wait": 60}
				requests = append(requests, w.request("acquire", f))
			}
			require.NoError(t, w.write("["+strings.Join(requests, ",")+"]"))
			all = append(all, w)
		}
		c := newClient(t, s.url)
		require.Eventually(t, func() bool { return c.show(t, "r").Waiters == waits }, patience, 5*time.Millisecond)
		return all
	}
	park()
	s.kill()
	s = start()
	all := park()
	var inside, granted atomic.Int64
	var group sync.WaitGroup
	for i, w := range all {
		group.Go(func() {
			tokens := map[int]bool{}
			for released := 0; released < waits/sessions; {
				answers, err := w.read()
				if err != nil {
					t.Error(err)
					return
				}
				for _, a := range answers {
					switch {
					case a.Status != 200 || tokens[a.Seq]:
						t.Errorf("%+v", a)
						return
					case a.Token != 0 && a.Outcome == "":
						tokens[a.Seq] = true
						if inside.Add(1) != 1 {
							t.Error("two at once")
						}
						granted.Add(1)
						inside.Add(-1)
						if err := w.write(w.request("release", fields{"resource": "r", "owner": fmt.Sprint(i), "token": a.Token})); err != nil {
							t.Error(err)
							return
						}
					default:
						released++
					}
				}
			}
		})
	}
	c := newClient(t, s.url)
	require.Equal(t, 200, c.release(t, fields{"resource": "r", "owner": "holder", "id": "first"}).status)
	group.Wait()
	require.EqualValues(t, waits, granted.Load())
	require.Zero(t, c.locks(t))
}
