package service_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/engine"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/service"
	"github.com/lockserver/lockserver/server/internal/store/memory"
	"github.com/lockserver/lockserver/server/internal/wire"
)

const secret = "correct-horse-battery"

// transport is one without sockets: it takes an operation and a body, and answers with a body, or loses it.
type transport struct {
	t       *testing.T
	service *service.Service
	engine  *engine.Engine
	counts  *counts
}

// counts is what the service has counted.
type counts struct {
	sync.Mutex
	n map[string]int
}

func (c *counts) Request(operation, outcome string, _ time.Duration) {
	c.Lock()
	defer c.Unlock()
	c.n[operation+" "+outcome]++
}

func open(t *testing.T) *engine.Engine {
	t.Helper()
	bounds := lock.Bounds{MaxLocks: 100, MaxWaiters: 100, MaxRemembered: 100, MaxWait: time.Minute}
	e, err := engine.Open(context.Background(), engine.Config{Store: memory.New(), Bounds: bounds, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return e
}

func start(t *testing.T) *transport {
	t.Helper()
	x := &transport{t: t, engine: open(t), counts: &counts{n: map[string]int{}}}
	x.service = service.New(service.Config{Secrets: []string{secret}, Observer: x.counts})
	x.service.Serve(x.engine)
	return x
}

func (x *transport) close() { require.NoError(x.t, x.engine.Close(context.Background())) }

// call runs one operation as a front end does. It returns "" if the caller was gone.
func (x *transport) call(ctx context.Context, secret string, op wire.Operation, body string, lost bool) string {
	c := service.Call{Op: op, From: "here"}
	if p := x.service.Admit(op, secret, &service.Origin{}); p != nil {
		return string(p.Code)
	}
	p := c.Fields.DecodeQuery(op, "")
	if op.InBody() {
		p = c.Fields.DecodeBody(op, []byte(body))
	} else if body != "" {
		p = c.Fields.DecodeQuery(op, body)
	}
	if p != nil {
		return string(wire.AppendProblem(nil, p))
	}
	result, ok := x.service.Do(ctx, &c)
	if !ok {
		x.service.Count(op, service.Gone, 0)
		return ""
	}
	x.service.Count(op, result.Outcome(), 0)
	answer := string(result.Append(nil))
	if lost {
		result.Ticket.Leave()
	}
	return answer
}

func (x *transport) do(op wire.Operation, body string) string {
	return x.call(context.Background(), secret, op, body, false)
}

func TestOperationsWithoutATransport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := start(t)
		defer x.close()
		require.Contains(t, x.do(wire.Acquire, `{"resource":"r","owner":"o","expire":30}`), `"token":`)
		require.Contains(t, x.do(wire.Acquire, `{"resource":"r","owner":"p"}`), `"code":"locked"`)
		require.Contains(t, x.do(wire.Acquire, `{"resource":"r","owner":"p","id":"i","wait":1}`), `"position":1`)
		require.Contains(t, x.do(wire.Renew, `{"resource":"r","owner":"o"}`), `"expires_in":30`)
		require.Contains(t, x.do(wire.Show, "resource=r"), `"queue":[{"position":1`)
		require.Contains(t, x.do(wire.List, ""), `"locks":[{"resource":"r"`)
		require.Contains(t, x.do(wire.Release, `{"resource":"r","owner":"p","id":"i"}`), `"outcome":"cancelled"`)
		require.Contains(t, x.do(wire.ForceRelease, "resource=r"), `"evicted":[{"owner":"o"`)
		require.Contains(t, x.do(wire.Show, "resource=r"), `"code":"not_found"`)
		require.Contains(t, x.do(wire.Show, ""), `"field":"resource"`)
		require.Equal(t, map[string]int{
			"acquire granted": 1, "acquire locked": 1, "acquire queued": 1, "renew renewed": 1, "show ok": 1, "list ok": 1,
			"release cancelled": 1, "force_release ok": 1, "show not_found": 1,
		}, x.counts.n)
	})
}

func TestWhoMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := start(t)
		defer x.close()
		for _, wrong := range []string{"", "wrong", secret + "x"} {
			require.Equal(t, "unauthorized", x.call(t.Context(), wrong, wire.List, "", false))
			require.Nil(t, x.service.Admit(wire.Healthz, wrong, &service.Origin{}))
			require.Equal(t, wire.Unauthorized, x.service.Admit(wire.Other, wrong, &service.Origin{}).Code)
		}
	})
}

func TestAGrantThatIsNotDeliveredGoesToTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := start(t)
		defer x.close()
		x.do(wire.Acquire, `{"resource":"r","owner":"o"}`)
		answers := make(chan string, 2)
		wait := func(owner string, lost bool) {
			answers <- x.call(context.Background(), secret, wire.Acquire, `{"resource":"r","owner":"`+owner+`","wait":60}`, lost)
		}
		go wait("p", true)
		synctest.Wait()
		go wait("q", false)
		synctest.Wait()
		require.Contains(t, x.do(wire.Release, `{"resource":"r","owner":"o"}`), "released")
		require.Contains(t, <-answers, `"owner":"p"`)
		require.Contains(t, <-answers, `"owner":"q"`, "the lost grant went on")
		require.Contains(t, x.do(wire.Show, "resource=r"), `"holders":[{"owner":"q"`)
	})
}

func TestACallerWhoGoesAwayLeavesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := start(t)
		defer x.close()
		x.do(wire.Acquire, `{"resource":"r","owner":"o"}`)
		ctx, leave := context.WithCancel(context.Background())
		answer := make(chan string, 1)
		go func() {
			answer <- x.call(ctx, secret, wire.Acquire, `{"resource":"r","owner":"p","wait":60}`, false)
		}()
		synctest.Wait()
		leave()
		require.Empty(t, <-answer)
		require.Contains(t, x.do(wire.Show, "resource=r"), `"queue":[]`)
	})
}

// Nobody who waits in one term hangs when it ends, and nobody of the next gets an answer of the one before.
func TestTerms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := start(t)
		first := x.engine
		x.do(wire.Acquire, `{"resource":"r","owner":"o"}`)
		answer := make(chan string, 1)
		go func() { answer <- x.do(wire.Acquire, `{"resource":"r","owner":"p","id":"i","wait":60}`) }()
		synctest.Wait()

		x.service.Withdraw()
		require.Equal(t, "loading", x.service.Ready().Reason)
		require.Contains(t, x.do(wire.Acquire, `{"resource":"s","owner":"o"}`), `"reason":"loading"`)
		require.NoError(t, first.Close(context.Background()))
		require.Contains(t, <-answer, `"code":"store_unavailable"`, "the outcome is unknown: it may ask again")

		x.engine = open(t)
		defer x.close()
		x.service.Serve(x.engine)
		require.Nil(t, x.service.Ready())
		require.Contains(t, x.do(wire.Acquire, `{"resource":"r","owner":"p","id":"i"}`), `"token":`, "the store is a new one")
	})
}
