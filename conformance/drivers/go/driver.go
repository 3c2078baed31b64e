package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/internal/settings"
	"github.com/lockserver/lockserver/sdk-go/internal/testclock"
)

var lacks = object{
	"exit":           "a Go process ends with its main function, whatever else runs",
	"original":       "the original had no Go client whose calls could be kept",
	"wrong-types":    "the compiler refuses an expire that is no duration",
	"timeout-option": "a limit is the caller's context, not an argument: it can be neither 0 nor contradict a call that does not wait",
}

// client is a client with its clock.
type client struct {
	*lockserver.Client
	clock      *testclock.Clock
	mono, wall time.Duration
}

// scope is a running body.
type scope struct{ leave chan string }

type driver struct {
	out *output

	mu      sync.Mutex
	clients map[string]*client
	locks   map[string]*lockserver.Lock
	scopes  map[string]*scope
	pending map[int]context.CancelFunc
}

func newDriver(out *output) *driver {
	return &driver{out: out, clients: map[string]*client{}, locks: map[string]*lockserver.Lock{}, scopes: map[string]*scope{}, pending: map[int]context.CancelFunc{}}
}

func (d *driver) closeAll() error {
	var errs []error
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range d.clients {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// begin begins a request. What a later line can refer to is there when it returns.
func (d *driver) begin(r request) {
	ctx, cancel := context.WithCancel(context.Background())
	d.mu.Lock()
	d.pending[r.ID] = cancel
	if r.Op == "scope" {
		d.scopes[r.Lock] = &scope{leave: make(chan string, 1)}
	}
	d.mu.Unlock()
	if r.Op == "client" {
		d.answer(ctx, r)
		return
	}
	go d.answer(ctx, r)
}

func (d *driver) answer(ctx context.Context, r request) {
	m := message{ID: r.ID}
	ok, err := d.do(ctx, r)
	var fault faultError
	switch {
	case errors.As(err, &fault):
		m.Fault = fault.Error()
	case err != nil:
		m.Error = describe(ctx, err)
	case ok == nil:
		m.OK = object{}
	default:
		m.OK = ok
	}
	d.out.write(m)
	d.mu.Lock()
	d.pending[r.ID]()
	delete(d.pending, r.ID)
	d.mu.Unlock()
}

// faultError is the driver's own trouble.
type faultError string

func (f faultError) Error() string { return string(f) }

func (d *driver) do(ctx context.Context, r request) (object, error) {
	switch r.Op {
	case "hello":
		return object{"protocol": 1, "name": "go", "language": "Go " + runtime.Version(), "version": "0", "names": "go", "forms": []string{"WithLock"}, "lacks": lacks}, nil
	case "client":
		return d.construct(r)
	case "env":
		env := object{}
		for _, kv := range os.Environ() {
			if k, v, _ := strings.Cut(kv, "="); strings.HasPrefix(k, "LOCKSERVER_") {
				env[k] = v
			}
		}
		return object{"env": env}, nil
	case "leaks":
		return object{"left": leaks()}, nil
	case "leave":
		d.mu.Lock()
		s := d.scopes[r.Lock]
		d.mu.Unlock()
		if s == nil {
			return nil, faultError("no scope " + r.Lock)
		}
		s.leave <- r.How
		return nil, nil
	case "cancel":
		d.mu.Lock()
		cancel := d.pending[r.Of]
		d.mu.Unlock()
		if cancel != nil {
			cancel()
		}
		return nil, nil
	}
	if r.Client != "" {
		d.mu.Lock()
		c := d.clients[r.Client]
		d.mu.Unlock()
		if c == nil {
			return nil, faultError("no client " + r.Client)
		}
		return d.withClient(ctx, c, r)
	}
	d.mu.Lock()
	l := d.locks[r.Lock]
	d.mu.Unlock()
	if l == nil {
		return nil, faultError("no lock " + r.Lock)
	}
	return withLock(ctx, l, r)
}

func (d *driver) construct(r request) (object, error) {
	clock := testclock.New()
	var bounds settings.Bounds
	for name, field := range map[string]*time.Duration{
		"hop": &bounds.Hop, "connect": &bounds.Connect, "answer": &bounds.Answer, "release": &bounds.Cleanup,
		"unanswered": &bounds.Silence, "unanswered_queued": &bounds.SilenceQueued,
		"ping": &bounds.Ping, "session_again": &bounds.SessionAgain,
	} {
		*field = seconds(r.Test[name])
	}
	opts := []lockserver.Option{func(s *settings.Settings) { s.Clock, s.Bounds = clock.Now, bounds }}
	if r.Addr != nil {
		opts = append(opts, lockserver.WithAddr(*r.Addr))
	}
	if r.Owner != nil {
		opts = append(opts, lockserver.WithOwner(*r.Owner))
	}
	if r.Secret != nil {
		opts = append(opts, lockserver.WithSecret(*r.Secret))
	}
	if r.Proxy != nil {
		opts = append(opts, lockserver.WithProxy(*r.Proxy))
	}
	if r.Transport != nil {
		opts = append(opts, lockserver.WithTransport(lockserver.Transport(*r.Transport)))
	}
	if r.Dotenv != nil && !*r.Dotenv {
		opts = append(opts, lockserver.WithoutDotEnv())
	}
	made, err := lockserver.New(opts...)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clients[r.Client] = &client{Client: made, clock: clock}
	return object{"owner": made.Owner()}, nil
}

func (d *driver) withClient(ctx context.Context, c *client, r request) (object, error) {
	if r.Timeout != nil {
		limited, cancel := context.WithTimeout(ctx, seconds(*r.Timeout))
		defer cancel()
		ctx = limited
	}
	switch r.Op {
	case "acquire":
		acquire := c.Acquire
		if r.Blocking != nil && !*r.Blocking {
			acquire = c.TryAcquire
		}
		lock, err := acquire(ctx, r.Resource, options(r)...)
		if r.Blocking != nil && !*r.Blocking && errors.Is(err, lockserver.ErrLocked) {
			return object{"granted": false}, nil
		}
		if err != nil {
			return nil, err
		}
		d.keep(r.Lock, lock)
		return object{"granted": true, "token": lock.Token()}, nil
	case "events":
		return events(ctx, c, r)
	case "scope":
		return d.runScope(ctx, c, r)
	case "release":
		if err := c.Release(ctx, r.Resource); err != nil {
			return nil, err
		}
		return object{"released": true}, nil
	case "close":
		return nil, c.Close()
	case "clock":
		c.clock.ShiftMonotonic(seconds(r.Monotonic) - c.mono)
		c.clock.ShiftWall(seconds(r.Wall) - c.wall)
		c.mono, c.wall = seconds(r.Monotonic), seconds(r.Wall)
		return nil, nil
	case "text":
		return object{"texts": texts(c.Client)}, nil
	}
	return nil, faultError("unknown op " + r.Op)
}

func events(ctx context.Context, c *client, r request) (object, error) {
	var got []object
	for e, err := range c.Watch(ctx, r.Prefix) {
		switch {
		case err != nil:
			return nil, err
		case e.Kind == "gap" && e.Missed < 0:
			got = append(got, object{"kind": e.Kind, "missed": nil})
		case e.Kind == "gap":
			got = append(got, object{"kind": e.Kind, "missed": e.Missed})
		default:
			got = append(got, object{"kind": e.Kind, "resource": e.Resource, "owner": e.Owner, "token": e.Token})
		}
		if len(got) == r.Count {
			break
		}
	}
	return object{"events": got}, nil
}

func (d *driver) keep(name string, lock *lockserver.Lock) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.locks[name] = lock
}

func withLock(ctx context.Context, l *lockserver.Lock, r request) (object, error) {
	switch r.Op {
	case "release":
		released, err := l.Release(ctx)
		return object{"released": released}, err
	case "renew":
		var length time.Duration
		if r.Expire != nil {
			length = seconds(*r.Expire)
		}
		return nil, l.Renew(ctx, length)
	case "check":
		return lost(l)
	case "watch":
		select {
		case <-l.Done():
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return lost(l)
	case "text":
		return object{"texts": texts(l)}, nil
	}
	return nil, faultError("unknown op " + r.Op)
}

func lost(l *lockserver.Lock) (object, error) {
	err := l.Err()
	if err == nil {
		return object{"lost": false}, nil
	}
	select {
	case <-l.Done():
		return object{"lost": true, "error": describe(context.Background(), err)}, nil
	case <-time.After(5 * time.Second):
		return nil, faultError("Err says that the lock is lost, and Done is not closed")
	}
}

func options(r request) []lockserver.AcquireOption {
	var opts []lockserver.AcquireOption
	if r.Expire != nil {
		opts = append(opts, lockserver.Expire(seconds(*r.Expire)))
	}
	if r.Renew {
		opts = append(opts, lockserver.Renewed())
	}
	if r.Mode == "shared" {
		opts = append(opts, lockserver.Shared())
	}
	if r.Limit != nil {
		opts = append(opts, lockserver.Limit(*r.Limit))
	}
	if r.Note != "" {
		opts = append(opts, lockserver.Note(r.Note))
	}
	return opts
}

func seconds(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }

// texts are the ways in which Go makes text of a value.
func texts(v any) []string {
	var all []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		all = append(all, fmt.Sprintf(verb, v), fmt.Sprintf(verb, struct{ V any }{v}))
	}
	return all
}
