package session_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/engine"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/session"
	"github.com/lockserver/lockserver/server/internal/store"
	"github.com/lockserver/lockserver/server/internal/store/memory"
)

func TestOperations(t *testing.T) {
	s := start(t, session.Config{}, nil)
	c := s.dial()
	got := c.ask(acquire(1, "r", "o", "i", `,"expire":30,"note":"n"`))
	require.InDelta(t, 1, got["seq"], 0)
	require.InDelta(t, 200, got["status"], 0)
	require.NotNil(t, got["token"])
	require.Equal(t, "exclusive", got["mode"])
	require.NotContains(t, got, "code")

	got = c.ask(`{"resource":"r","op":"show","seq":2}`)
	require.Equal(t, "r", got["resource"])
	require.Len(t, got["holders"], 1)

	got = c.ask(`{"seq":3,"op":"renew","resource":"r","owner":"o","id":"i","expire":60}`)
	require.Greater(t, got["expires_in"], 59.0)

	got = c.ask(acquire(4, "r", "p", "j", ""))
	require.InDelta(t, 409, got["status"], 0)
	require.Equal(t, "locked", got["code"])
	require.InDelta(t, 4, got["seq"], 0)

	got = c.ask(release(5, "r", "o", "i"))
	require.Equal(t, "released", got["outcome"])
	require.Equal(t, "not_found", c.ask(`{"seq":6,"op":"show","resource":"r"}`)["code"])
}

func TestAnArrayTakesEffectInOrder(t *testing.T) {
	s := start(t, session.Config{}, nil)
	c := s.dial()
	var list []string
	for i := range 100 {
		list = append(list, acquire(2*i+1, "r", "o", fmt.Sprint(i), ""), release(2*i+2, "r", "o", fmt.Sprint(i)))
	}
	c.send("[" + strings.Join(list, " ,\n") + "]")
	for i := range 200 {
		got := c.next()
		require.InDelta(t, i+1, got["seq"], 0)
		require.InDelta(t, 200, got["status"], 0, "%v", got)
	}
}

func TestAGrantIsPushed(t *testing.T) {
	s := start(t, session.Config{}, nil)
	holder, waiter := s.dial(), s.dial()
	holder.ask(acquire(1, "r", "o", "i", ""))
	waiter.send(acquire(1, "r", "p", "j", `,"wait":60`))
	s.eventually("parked", func() bool { return s.engine.Stats().Waiters == 1 })
	require.Equal(t, "released", holder.ask(release(2, "r", "o", "i"))["outcome"])
	require.NotNil(t, waiter.next()["token"])
}

// A waiting request holds up nothing behind it.
func TestAWaitBlocksNothing(t *testing.T) {
	s := start(t, session.Config{}, nil)
	c := s.dial()
	c.ask(acquire(1, "r", "o", "i", ""))
	c.send("[" + acquire(2, "r", "p", "j", `,"wait":60`) + "," + acquire(3, "s", "p", "k", "") + "]")
	require.InDelta(t, 3, c.next()["seq"], 0)
	c.send(release(4, "r", "o", "i"))
	seqs := map[any]bool{c.next()["seq"]: true, c.next()["seq"]: true}
	require.Equal(t, map[any]bool{2.0: true, 4.0: true}, seqs)
}

func TestAWrongRequestGetsItsOwnAnswer(t *testing.T) {
	s := start(t, session.Config{}, nil)
	c := s.dial()
	for i, r := range []struct{ request, field string }{
		{`"op":"acquire","resource":"r","owner":"o"`, "id"},
		{`"op":"acquire","resource":"r","owner":"o","id":"i","token":3`, "token"},
		{`"op":"acquire","resource":"r","owner":"o","id":"i","expires":3`, "expires"},
		{`"op":"acquire","resource":"r","owner":"o","id":"i","expire":"30"`, "expire"},
		{`"op":"acquire","resource":"r","owner":"o","id":"i","note":{"a":[1,"]}"]}`, "note"},
		{`"op":"acquire","resource":"r","resource":"r","owner":"o","id":"i"`, "resource"},
		{`"op":"renew","owner":"o"`, "resource"},
		{`"op":"keepalive","resource":"r"`, "resource"},
		{`"op":"list"`, "op"},
		{`"resource":"r"`, "op"},
	} {
		got := c.ask(fmt.Sprintf(`[{%s,"seq":%d}]`, r.request, i+1))
		require.Equal(t, "invalid_request", got["code"], r.request)
		require.Equal(t, r.field, got["field"], r.request)
		require.InDelta(t, i+1, got["seq"], 0)
		require.InDelta(t, 400, got["status"], 0)
		require.Contains(t, got["detail"], "allowed: ")
	}
	c.send(`[{"seq":50,"op":"nonsense"},` + acquire(51, "r", "o", "i", "") + `]`)
	require.Equal(t, "op", c.next()["field"])
	require.InDelta(t, 200, c.next()["status"], 0, "the others of the message are not touched")
}

func TestWhatEndsASession(t *testing.T) {
	s := start(t, session.Config{}, nil)
	s.dial().ask(acquire(1, "held", "o", "i", ""))
	masked := ws.MaskFrame
	deep := strings.Repeat("[", 100_000)
	many := "[" + strings.TrimSuffix(strings.Repeat(`{"op":"x"},`, 5), ",") + "]"
	for name, c := range map[string]struct {
		send func(*client)
		code ws.StatusCode
		says string
	}{
		"no JSON":        {func(c *client) { c.send("hello") }, 1007, "hello"},
		"empty":          {func(c *client) { c.send("") }, 1007, "is empty"},
		"empty array":    {func(c *client) { c.send("[]") }, 1007, "no request"},
		"no seq":         {func(c *client) { c.send(`{"op":"show","resource":"r"}`) }, 1007, "no seq"},
		"seq is wrong":   {func(c *client) { c.send(`{"seq":0,"op":"show","resource":"r"}`) }, 1007, "seq is 0"},
		"no seq, list":   {func(c *client) { c.send(many) }, 1007, "op"},
		"trailing":       {func(c *client) { c.send(`{"seq":1,"op":"keepalive"} x`) }, 1007, "goes on"},
		"not closed":     {func(c *client) { c.send(`[{"seq":1,"op":"keepalive"}`) }, 1007, "end of the body"},
		"deeply nested":  {func(c *client) { c.send(`{"seq":1,"note":` + deep) }, 1007, ""},
		"not UTF-8":      {func(c *client) { c.send("{\"seq\":1,\"op\":\"show\",\"resource\":\"\xff") }, 1007, ""},
		"binary":         {func(c *client) { c.frame(masked(ws.NewBinaryFrame([]byte("{}")))) }, 1003, "binary"},
		"not masked":     {func(c *client) { c.frame(ws.NewTextFrame([]byte("{}"))) }, 1002, ""},
		"reserved bit":   {func(c *client) { f := masked(ws.NewTextFrame([]byte("{}"))); f.Header.Rsv = 4; c.frame(f) }, 1002, ""},
		"unknown opcode": {func(c *client) { f := masked(ws.NewTextFrame([]byte("{}"))); f.Header.OpCode = 5; c.frame(f) }, 1002, ""},
		"continuation":   {func(c *client) { c.frame(masked(ws.NewFrame(ws.OpContinuation, true, []byte("{}")))) }, 1002, ""},
		"too large": {func(c *client) {
			c.frame(ws.Frame{Header: ws.Header{Fin: true, OpCode: ws.OpText, Masked: true, Length: 1<<20 + 1}})
		}, 1009, "1048576"},
		"too large, in parts": {func(c *client) {
			c.frame(masked(ws.NewFrame(ws.OpText, false, make([]byte, 1<<20))))
			c.frame(ws.Frame{Header: ws.Header{OpCode: ws.OpContinuation, Masked: true, Length: 1}})
		}, 1009, "1048576"},
		"seq in use": {func(c *client) {
			c.send("[" + acquire(1, "held", "p", "j", `,"wait":60`) + "," + acquire(1, "x", "p", "k", "") + "]")
		}, 1008, "seq"},
		"many requests": {func(c *client) {
			var b strings.Builder
			for i := range 1025 {
				fmt.Fprintf(&b, `,{"seq":%d,"op":"keepalive"}`, i+1)
			}
			c.send("[" + b.String()[1:] + "]")
		}, 1007, "1024"},
		"goodbye": {func(c *client) { c.frame(masked(ws.NewCloseFrame(ws.NewCloseFrameBody(1000, "")))) }, 1000, ""},
	} {
		t.Run(name, func(t *testing.T) {
			x := s.dial()
			c.send(x)
			code, reason := x.closed()
			require.Equal(t, c.code, code, reason)
			require.Contains(t, reason, c.says)
		})
	}
	s.eventually("only the first session is left", func() bool { return s.sessions.Sessions() == 1 })
}

func TestFragmentsAndPings(t *testing.T) {
	s := start(t, session.Config{}, nil)
	c := s.dial()
	text := []byte(acquire(1, "r", "o", "i", ""))
	c.frame(ws.MaskFrame(ws.NewFrame(ws.OpText, false, text[:10])))
	c.frame(ws.MaskFrame(ws.NewPingFrame([]byte("in between"))))
	c.frame(ws.MaskFrame(ws.NewFrame(ws.OpContinuation, false, nil)))
	c.frame(ws.MaskFrame(ws.NewFrame(ws.OpContinuation, true, text[10:])))
	f, err := ws.ReadFrame(c.conn) //nolint:staticcheck // deprecated for peers that are not trusted
	require.NoError(t, err)
	require.Equal(t, ws.OpPong, f.Header.OpCode)
	require.Equal(t, "in between", string(f.Payload))
	require.InDelta(t, 200, c.next()["status"], 0)

	ping := ws.MustCompileFrame(ws.MaskFrame(ws.NewPingFrame(make([]byte, 100))))
	go func() {
		for range 100_000 {
			if _, err := c.conn.Write(ping); err != nil {
				return
			}
		}
	}()
	other := s.dial()
	require.InDelta(t, 200, other.ask(acquire(1, "s", "o", "i", ""))["status"], 0, "a flood of pings stops nobody else")
}

func TestTheServerPingsAndClosesWhatDoesNotAnswer(t *testing.T) {
	s := start(t, session.Config{PingInterval: 10 * time.Millisecond}, nil)
	s.dial() // it never reads, so it never answers
	s.eventually("closed", func() bool { return s.sessions.Sessions() == 0 })
	const patient = 500 * time.Millisecond // a slow machine has two of these to answer
	s = start(t, session.Config{PingInterval: patient}, nil)
	alive := s.dial()
	for range 4 {
		f, err := ws.ReadFrame(alive.conn) //nolint:staticcheck // deprecated for peers that are not trusted
		require.NoError(t, err)
		require.Equal(t, ws.OpPing, f.Header.OpCode)
		alive.frame(ws.MaskFrame(ws.NewPongFrame(f.Payload)))
	}
	require.Equal(t, 1, s.sessions.Sessions())
}

// A session that ends does to its parked requests what a closed HTTP connection does.
func TestACutSessionKeepsPlaces(t *testing.T) {
	s := start(t, session.Config{}, nil)
	holder, cut := s.dial(), s.dial()
	holder.ask(acquire(1, "r", "o", "i", ""))
	cut.send(acquire(1, "r", "p", "j", `,"wait":60`))
	s.eventually("parked", func() bool { return s.engine.Stats().Waiters == 1 })
	require.NoError(t, cut.conn.Close())
	s.eventually("absent", func() bool {
		queue := holder.ask(`{"seq":2,"op":"show","resource":"r"}`)["queue"].([]any)
		return len(queue) == 1 && queue[0].(map[string]any)["present"] == false
	})
	again := s.dial()
	again.send(acquire(1, "r", "p", "j", `,"wait":60`))
	s.eventually("back at its place", func() bool {
		return holder.ask(`{"seq":2,"op":"show","resource":"r"}`)["queue"].([]any)[0].(map[string]any)["present"] == true
	})
	holder.ask(release(3, "r", "o", "i"))
	require.InDelta(t, 200, again.next()["status"], 0)
}

func TestTheFirstToKnowOfALoss(t *testing.T) {
	s := start(t, session.Config{}, nil)
	c := s.dial()
	c.ask(acquire(1, "r", "o", "i", `,"expire":0.05`))
	got := c.next()
	token := got["token"]
	delete(got, "token")
	require.NotNil(t, token)
	require.Equal(t, map[string]any{"event": "lost", "resource": "r", "owner": "o", "id": "i", "reason": "expired"}, got)

	c.ask(acquire(2, "s", "o", "j", ""))
	other := s.dial()
	require.InDelta(t, 200, other.ask(acquire(1, "s", "o", "j", ""))["status"], 0, "asked for again by id")
	s.do("DELETE", "/lock?resource=s", "")
	got = other.next()
	require.Equal(t, "lost", got["event"])
	require.Equal(t, "evicted", got["reason"])

	c.ask(acquire(3, "t", "o", "k", `,"expire":30`))
	c.ask(release(4, "t", "o", "k"))
	s.do("POST", "/acquire", `{"resource":"t","owner":"z"}`)
	s.do("DELETE", "/lock?resource=t", "")
	require.InDelta(t, 200, c.ask(acquire(5, "u", "o", "l", ""))["status"], 0, "what was released cannot be lost")
}

// Who is asked to give a lock back hears of it, and keeps the lock.
func TestAHolderIsAskedToYield(t *testing.T) {
	s := start(t, session.Config{}, nil)
	c := s.dial()
	token := c.ask(acquire(1, "r", "o", "i", `,"expire":30`))["token"]
	for _, by := range []string{"boss", "other"} {
		s.do("POST", "/yield", `{"resource":"r","by":"`+by+`"}`)
		got := c.next()
		require.Equal(t, map[string]any{"event": "yield", "resource": "r", "owner": "o", "id": "i", "token": token, "by": by}, got)
	}
	require.Equal(t, "other", c.ask(`{"seq":2,"op":"renew","resource":"r","owner":"o","id":"i"}`)["yield_to"])
	s.do("DELETE", "/lock?resource=r", "")
	require.Equal(t, "lost", c.next()["event"], "it was still held")
	require.NotContains(t, c.ask(acquire(3, "r", "o", "j", "")), "yield_to", "the next grant was asked nothing")
}

// A renewal by id takes the lease over from a session that is gone, or from HTTP. One by token or owner does not.
func TestARenewalByIDTakesOver(t *testing.T) {
	s := start(t, session.Config{}, nil)
	token := s.do("POST", "/acquire", `{"resource":"r","owner":"o","id":"i","expire":30}`)["token"]
	first, second := s.dial(), s.dial()
	renew := func(c *client, name string) {
		t.Helper()
		require.InDelta(t, 200, c.ask(`{"seq":1,"op":"renew","resource":"r","owner":"o"` + name + `}`)["status"], 0)
	}
	renewed := func(c *client) any {
		t.Helper()
		return c.ask(`{"seq":2,"op":"keepalive"}`)["renewed"]
	}
	renew(first, "")
	renew(first, fmt.Sprintf(`,"token":%.0f`, token))
	require.Zero(t, renewed(first))
	renew(first, `,"id":"i"`)
	require.InDelta(t, 1, renewed(first), 0)
	require.NoError(t, first.conn.Close())
	s.eventually("the first session is gone", func() bool { return s.sessions.Sessions() == 1 })

	renew(second, `,"id":"i"`)
	require.InDelta(t, 1, renewed(second), 0)
	s.do("DELETE", "/lock?resource=r", "")
	got := second.next()
	require.Equal(t, "lost", got["event"])
	require.Equal(t, token, got["token"])
	require.Zero(t, renewed(second))
	require.Equal(t, "not_held", second.ask(`{"seq":3,"op":"renew","resource":"r","owner":"o","id":"i"}`)["code"])
}

func TestKeepalive(t *testing.T) {
	s := start(t, session.Config{}, nil)
	c := s.dial()
	got := c.ask(`{"seq":1,"op":"keepalive"}`)
	require.Equal(t, map[string]any{"seq": 1.0, "status": 200.0, "renewed": 0.0, "shortest": nil, "lost": []any{}}, got)

	c.ask(acquire(2, "forever", "o", "i", ""))
	c.ask(acquire(3, "short", "o", "i", `,"expire":50`))
	const many = 1000
	for i := range many {
		c.ask(acquire(4, fmt.Sprint("r", i), "o", "i", `,"expire":100`))
	}
	s.do("POST", "/release", `{"resource":"r7","owner":"o"}`)
	got = c.ask(`{"seq":5,"op":"keepalive"}`)
	require.InDelta(t, many, got["renewed"], 0)
	require.InDelta(t, 50, got["shortest"], 0.5)
	lost := got["lost"].([]any)
	require.Len(t, lost, 1)
	require.Equal(t, "r7", lost[0].(map[string]any)["resource"])
	require.Equal(t, "unknown", lost[0].(map[string]any)["reason"])
	require.Empty(t, c.ask(`{"seq":6,"op":"keepalive"}`)["lost"], "told once")
}

// A keepalive that fails tells of no loss, so the next one does.
func TestLossesFoundByAFailedKeepalive(t *testing.T) {
	s := start(t, session.Config{}, nil)
	c := s.dial()
	c.ask(acquire(1, "released", "o", "i", `,"expire":50`))
	c.ask(acquire(2, "held", "o", "i", `,"expire":50`))
	s.do("POST", "/release", `{"resource":"released","owner":"o"}`)
	s.service.Serve(unable{s.engine, "held"})
	require.Equal(t, "store_unavailable", c.ask(`{"seq":3,"op":"keepalive"}`)["code"])
	s.service.Serve(s.engine)
	got := c.ask(`{"seq":4,"op":"keepalive"}`)
	require.InDelta(t, 1, got["renewed"], 0)
	require.Len(t, got["lost"], 1)
}

// unable is an engine that cannot say whether it has renewed one resource.
type unable struct {
	*engine.Engine
	resource string
}

func (u unable) Renew(ref *lock.Ref, expire time.Duration, to lock.Reply) {
	if ref.Resource == u.resource {
		to.Send(&lock.Answer{Code: lock.Unavailable})
		return
	}
	u.Engine.Renew(ref, expire, to)
}

// A keepalive that takes its time does not name as lost what the client released behind it, and holds up no other.
func TestReleasesBehindAKeepalive(t *testing.T) {
	s := start(t, session.Config{}, nil)
	c := s.dial()
	const many = 1000
	for round := range 5 {
		var all []string
		for i := range many {
			all = append(all, acquire(i+1, fmt.Sprint("r", i), "o", fmt.Sprint(round, "-", i), `,"expire":100`))
		}
		c.send("[" + strings.Join(all, ",") + "]")
		tokens := make([]any, many+1)
		for range many {
			got := c.next()
			tokens[int(got["seq"].(float64))] = got["token"]
		}
		all = []string{`{"seq":5000,"op":"keepalive"}`, `{"seq":5001,"op":"keepalive"}`, `{"seq":5002,"op":"keepalive"}`}
		for i := range many {
			all = append(all, fmt.Sprintf(`{"seq":%d,"op":"release","resource":"r%d","owner":"o","token":%.0f}`, i+1, i, tokens[i+1]))
		}
		c.send("[" + strings.Join(all[:500], ",") + "]")
		c.send("[" + strings.Join(all[500:], ",") + "]")
		for range len(all) {
			got := c.next()
			require.InDelta(t, 200, got["status"], 0, "%v", got)
			if got["seq"].(float64) >= 5000 {
				require.Empty(t, got["lost"])
			}
		}
	}
}

func TestDraining(t *testing.T) {
	s := start(t, session.Config{}, nil)
	c := s.dial()
	c.ask(acquire(1, "r", "o", "i", ""))
	c.send(acquire(2, "r", "p", "j", `,"wait":60`))
	s.eventually("parked", func() bool { return s.engine.Stats().Waiters == 1 })
	s.service.Drain()
	s.sessions.Drain()
	require.Equal(t, map[string]any{"event": "draining"}, c.next())
	s.engine.Drain()
	require.Equal(t, "draining", c.next()["code"])
	require.Equal(t, "released", c.ask(release(3, "r", "o", "i"))["outcome"], "others go on")
	require.NoError(t, s.sessions.Shutdown(context.Background()))
	code, _ := c.closed()
	require.EqualValues(t, 1001, code)
	require.Equal(t, "draining", s.do("GET", "/session", "")["code"], "no new ones")
}

func TestASlowReaderHoldsUpOnlyItself(t *testing.T) {
	s := start(t, session.Config{MaxUnsent: 32 << 10, WriteTimeout: time.Second}, nil)
	slow := s.dial()
	go func() { // it asks and never reads
		long := strings.Repeat("n", 400)
		for i := 1; ; i++ {
			text := acquire(i, long, "o", fmt.Sprint(i), "")
			if err := ws.WriteFrame(slow.conn, ws.MaskFrame(ws.NewTextFrame([]byte(text)))); err != nil {
				return
			}
		}
	}()
	quick := s.dial()
	for i := range 200 {
		require.InDelta(t, 200, quick.ask(acquire(i+1, "r", "o", fmt.Sprint(i), ""))["status"], 0)
		quick.ask(release(i+1, "r", "o", fmt.Sprint(i)))
	}
	s.eventually("the slow one is closed", func() bool { return s.sessions.Sessions() == 1 })
}

// A session on which as much is going on as may is not read. What is only parked does not count: it may wait for a release behind it.
func TestTooManyOperationsAreNotRead(t *testing.T) {
	const most = 10
	disk := &gate{Store: memory.New(), open: make(chan struct{})}
	s := start(t, session.Config{MaxOperations: most}, disk)
	c := s.dial()
	for i := range most + 5 {
		c.send(acquire(i+1, fmt.Sprint(i), "o", "i", ""))
	}
	s.eventually("as many as may are read", func() bool { return s.engine.Stats().Grants == most })
	s.dial().send(acquire(1, "r", "o", "i", ""))
	s.eventually("another session is read", func() bool { return s.engine.Stats().Grants == most+1 })
	close(disk.open)
	for i := range most + 5 {
		require.InDelta(t, i+1, c.next()["seq"], 0)
	}
}

// gate is a store whose commits are held up until it is opened.
type gate struct {
	store.Store
	open chan struct{}
}

func (g *gate) Commit(ctx context.Context, changes []lock.Change) error {
	<-g.open
	return g.Store.Commit(ctx, changes)
}

func TestAReleaseBehindManyWaits(t *testing.T) {
	const waits = 100
	s := start(t, session.Config{MaxOperations: 2}, nil)
	c := s.dial()
	c.ask(acquire(1, "r", "o", "0", ""))
	for i := range waits {
		c.send(acquire(i+2, "r", "o", fmt.Sprint(i+1), `,"wait":60`))
	}
	for i := range waits {
		c.send(release(waits+2, "r", "o", fmt.Sprint(i)))
		seqs := map[any]bool{c.next()["seq"]: true, c.next()["seq"]: true}
		require.Equal(t, map[any]bool{float64(i + 2): true, waits + 2.0: true}, seqs)
	}
}

func TestWhoMayHaveASession(t *testing.T) {
	s := start(t, session.Config{}, nil)
	whole := map[string]string{
		"X-LOCKSERVER-SECRET": secret, "Connection": "keep-alive, Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
		"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol": "x, lockserver.v1",
	}
	for _, c := range []struct {
		header, value string
		status        int
		field         string
	}{
		{"", "", 101, ""},
		{"Origin", "http://" + s.addr, 101, ""},
		{"Origin", "http://evil.example", 400, "Origin"},
		{"Origin", "null", 400, "Origin"},
		{"X-LOCKSERVER-SECRET", "wrong", 401, ""},
		{"Connection", "close", 400, "Upgrade"},
		{"Upgrade", "h2c", 400, "Upgrade"},
		{"Sec-WebSocket-Version", "8", 400, "Sec-WebSocket-Version"},
		{"Sec-WebSocket-Key", "short", 400, "Sec-WebSocket-Key"},
		{"Sec-WebSocket-Protocol", "lockserver.v2", 400, "Sec-WebSocket-Protocol"},
		{"Sec-WebSocket-Protocol", "", 400, "Sec-WebSocket-Protocol"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.addr+"/session", nil)
		require.NoError(t, err)
		for name, value := range whole {
			req.Header.Set(name, value)
		}
		if c.header != "" {
			req.Header.Set(c.header, c.value)
		}
		resp, err := http.DefaultTransport.RoundTrip(req)
		require.NoError(t, err)
		require.Equal(t, c.status, resp.StatusCode, "%s: %s", c.header, c.value)
		if c.status == 101 {
			require.Equal(t, "lockserver.v1", resp.Header.Get("Sec-WebSocket-Protocol"))
			require.Equal(t, "lockserver/test", resp.Header.Get("Server"))
			require.Empty(t, resp.Header.Get("Sec-WebSocket-Extensions"), "no compression")
		}
		require.NoError(t, resp.Body.Close())
	}
}
