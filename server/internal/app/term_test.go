package app

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/config"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/service"
	"github.com/lockserver/lockserver/server/internal/store"
	"github.com/lockserver/lockserver/server/internal/store/storetest"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// server is an app on a store that other servers may take over, asked without a transport.
type server struct {
	*App
	t      *testing.T
	medium *storetest.Medium
	right  chan error // gets nil when this server is given the right to write, or why it lost that again
	stop   context.CancelFunc
	ended  chan error // gets what Run returns
	ready  int        // how often the first term has begun
}

func start(t *testing.T) *server {
	t.Helper()
	o, err := config.Load(config.Source{
		Args: []string{"--port", "0", "--shutdown-timeout", "30"}, Dir: t.TempDir(), NeedsSecret: true,
		LookupEnv: func(name string) (string, bool) {
			return map[string]string{"LOCKSERVER_SECRET": "correct-horse-battery"}[name], true
		},
	})
	require.NoError(t, err)
	a, err := New(o, "test", slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	s := &server{App: a, t: t, medium: storetest.NewMedium(), right: make(chan error), ended: make(chan error, 1)}
	a.open = func(ctx context.Context) (store.Store, error) {
		select {
		case err := <-s.right:
			return s.medium.Open(), err
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	var ctx context.Context
	ctx, s.stop = context.WithCancel(t.Context())
	go func() { s.ended <- a.Run(ctx, func() { s.ready++ }) }()
	t.Cleanup(func() {
		s.stop()
		require.NoError(t, a.Close())
	})
	return s
}

// begin gives the server the right to write, and waits until it serves.
func (s *server) begin() {
	s.t.Helper()
	s.right <- nil
	s.eventually("serving", func() bool { return s.service.Ready() == nil })
}

// replace has another server take over the store.
func (s *server) replace() {
	s.t.Helper()
	other := s.medium.Open()
	_, err := other.Load(s.t.Context(), func(lock.Record) error { return nil })
	require.NoError(s.t, err)
	require.NoError(s.t, other.Close())
}

// withdrawn waits until the server stands by.
func (s *server) withdrawn() {
	s.t.Helper()
	s.eventually("withdrawn", func() bool { p := s.service.Ready(); return p != nil && p.Reason == "loading" })
}

func (s *server) eventually(what string, is func() bool) {
	s.t.Helper()
	require.Eventually(s.t, is, 10*time.Second, time.Millisecond, what)
}

func (s *server) call(op wire.Operation, body string) service.Result {
	c := service.Call{Op: op}
	decode := func() *wire.Problem { return c.Fields.DecodeBody(op, []byte(body)) }
	if !op.InBody() {
		decode = func() *wire.Problem { return c.Fields.DecodeQuery(op, body) }
	}
	if p := decode(); p != nil {
		s.t.Errorf("%s: %s", body, p.Detail)
	}
	result, ok := s.service.Do(context.Background(), &c)
	if !ok {
		s.t.Errorf("%s: gone", body)
	}
	return result
}

func (s *server) is(outcome string, op wire.Operation, body string) service.Result {
	s.t.Helper()
	result := s.call(op, body)
	require.Equal(s.t, outcome, result.Outcome(), body)
	return result
}

// later runs a call that waits.
func (s *server) later(op wire.Operation, body string) chan service.Result {
	c := make(chan service.Result, 1)
	go func() { c <- s.call(op, body) }()
	return c
}

// waits waits until somebody waits for the resource.
func (s *server) waits(resource string) {
	s.t.Helper()
	s.eventually("waiting", func() bool {
		result := s.call(wire.Show, "resource="+resource)
		return result.Outcome() == service.OK && len(s.queue(&result)) > 0
	})
}

func (s *server) queue(r *service.Result) []any {
	s.t.Helper()
	return decoded(s.t, r)["queue"].([]any)
}

func decoded(t *testing.T, r *service.Result) (body map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(r.Append(nil), &body))
	return body
}

// A server whose store is taken over by another one stands by, and serves again once it gets the right back. What was asked in one
// term is answered in it, and has no effect in the next.
func TestTermsOfAServerThatIsReplaced(t *testing.T) {
	s := start(t)
	s.is("store_unavailable", wire.Acquire, `{"resource":"r","owner":"a"}`)
	s.begin()
	granted := s.is("granted", wire.Acquire, `{"resource":"r","owner":"a"}`)
	parked := s.later(wire.Acquire, `{"resource":"r","owner":"b","id":"1","wait":60}`)
	s.waits("r")
	arrived, free := make(chan struct{}), make(chan struct{})
	s.medium.Gate(func(context.Context) error {
		close(arrived)
		<-free
		return nil
	})
	inFlight := s.later(wire.Acquire, `{"resource":"s","owner":"c"}`)
	<-arrived
	s.replace()
	s.medium.Gate(nil)
	close(free)
	for _, waiting := range []chan service.Result{parked, inFlight} {
		result := <-waiting
		require.Equal(t, "store_unavailable", result.Outcome())
		require.Contains(t, string(result.Append(nil)), "unknown", "what became of it")
	}
	s.withdrawn()
	standingBy := s.is("store_unavailable", wire.Renew, `{"resource":"r","owner":"a"}`)
	require.Equal(t, "loading", decoded(t, &standingBy)["reason"])

	s.right <- store.ErrReplaced // before it has even loaded
	s.begin()
	granted.Ticket.Leave() // says the first term's client, now
	shown := s.is(service.OK, wire.Show, "resource=r")
	require.Equal(t, decoded(t, &granted)["token"], decoded(t, &shown)["holders"].([]any)[0].(map[string]any)["token"])
	require.Empty(t, s.queue(&shown), "who waited has to ask again")
	s.is("granted", wire.Acquire, `{"resource":"s","owner":"d"}`)
	parked = s.later(wire.Acquire, `{"resource":"r","owner":"b","id":"1","wait":60}`)
	s.waits("r")
	s.is("released", wire.Release, `{"resource":"r","owner":"a"}`)
	again := <-parked
	require.Equal(t, "granted", again.Outcome())

	reason := errors.New("the disk is on fire")
	s.medium.Lose(reason)
	require.ErrorIs(t, <-s.ended, reason, "no other server has the store")
	require.Equal(t, 1, s.ready)
}

func TestShutdownWhileStandingBy(t *testing.T) {
	s := start(t)
	s.begin()
	s.replace()
	s.withdrawn()
	s.stop()
	require.NoError(t, <-s.ended)
}

// Every transport has the time to tell its clients, before the engine ends.
func TestEveryTransportDrains(t *testing.T) {
	s := start(t)
	told := make(chan string, 1)
	parked := make(chan service.Result)
	s.drains = append(s.drains, func(ctx context.Context) error {
		select {
		case result := <-parked:
			told <- result.Outcome()
			released := s.call(wire.Release, `{"resource":"r","owner":"a"}`)
			told <- released.Outcome()
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	s.begin()
	s.is("granted", wire.Acquire, `{"resource":"r","owner":"a"}`)
	go func() { parked <- s.call(wire.Acquire, `{"resource":"r","owner":"b","wait":60}`) }()
	s.waits("r")
	s.stop()
	require.Equal(t, "draining", <-told)
	require.Equal(t, "released", <-told)
	require.NoError(t, <-s.ended)
}
