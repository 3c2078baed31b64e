// Package play plays cases: one case against one driver and one server at a time, any number of them at once.
package play

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lockserver/lockserver/conformance/internal/cases"
	"github.com/lockserver/lockserver/conformance/internal/driver"
	"github.com/lockserver/lockserver/conformance/internal/netfault"
	"github.com/lockserver/lockserver/conformance/internal/place"
)

// Stage is what cases are played on.
type Stage struct {
	Place  place.Place
	Schema *driver.Schema
	Codes  map[string]bool // those of contract.json
	// Tolerance is by how much anything may be later than a case says.
	Tolerance time.Duration
	// Patience is how long anything is waited for that a case does not bound.
	Patience time.Duration
	// Shared is the server of the cases that need none of their own, SharedSecret its secret.
	Shared       place.Server
	SharedSecret string
	// Stalls is told to Watch by who makes the stage.
	Stalls Stalls

	serial atomic.Int64
}

// longest is how long a whole case may take.
const longest = 90 * time.Second

// Actor is the driver that a case is played against.
type Actor struct {
	Hello driver.Hello
	// Spec starts a process of its own for a case that needs one.
	Spec place.DriverSpec
	// Shared gives the process of the cases that need none of their own.
	Shared func(context.Context) (*driver.Conn, error)
	// Transport is what clients are told to use, "" for nothing.
	Transport string
	// NoSessions keeps sessions away from the clients, where they come by a link.
	NoSessions bool
}

// Failure is why a case failed: the step and what went before it.
type Failure struct {
	Err    error
	Trace  []string
	Stderr string
}

func (f *Failure) Error() string { return f.Err.Error() }
func (f *Failure) Unwrap() error { return f.Err }

// run is one case being played.
type run struct {
	*Stage
	name      string
	c         *cases.Case
	actor     *Actor // nil for a case on the wire
	form      string
	vars      map[string]any
	ops       map[string]*op
	rules     map[string]*netfault.Rule
	began     time.Time
	trace     []string
	durations []time.Duration // of operations that ended
	server    place.Server
	secret    string
	link      *netfault.Link
	conn      *driver.Conn
	owns      bool // the driver process is the case's own
	quiet     bool // the driver was ended by the case
	clients   []string
	defers    []func() error
}

// Play plays a case; a nil actor means that the case talks to the server itself.
func (s *Stage) Play(ctx context.Context, c *cases.Case, actor *Actor) error {
	forms := []string{""}
	if c.Forms && actor != nil {
		forms = actor.Hello.Forms
	}
	for _, form := range forms {
		if err := s.once(ctx, c, actor, form); err != nil {
			return err
		}
	}
	return nil
}

func (s *Stage) once(ctx context.Context, c *cases.Case, actor *Actor, form string) error {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	r := &run{
		Stage: s, name: fmt.Sprintf("r%d", s.serial.Add(1)), c: c, actor: actor, form: form,
		vars: map[string]any{}, ops: map[string]*op{}, rules: map[string]*netfault.Rule{}, began: time.Now(),
	}
	err := r.setUp(ctx)
	if err == nil {
		err = r.steps(ctx, c.Steps)
	}
	if e := r.tearDown(ctx, err == nil); err == nil {
		err = e
	}
	if err == nil {
		return nil
	}
	if form != "" {
		err = fmt.Errorf("form %s: %w", form, err)
	}
	if d := s.Stalls.longest(r.began); d > 0 {
		err = fmt.Errorf("%w (while it was played the runner itself stood still for %v)", err, d.Round(time.Millisecond))
	}
	f := &Failure{Err: err, Trace: shorten(r.trace)}
	if r.conn != nil && r.owns {
		f.Stderr = r.conn.Process.Stderr()
	}
	if r.server != nil && r.server != s.Shared {
		f.Stderr += "\nserver: " + r.server.Stderr()
	}
	return f
}

// shorten leaves the beginning and the end of a long trace.
func shorten(trace []string) []string {
	const head, tail = 10, 40
	if len(trace) <= head+tail {
		return trace
	}
	return slices.Concat(trace[:head], []string{"…"}, trace[len(trace)-tail:])
}

// NewSecret makes a secret that is found nowhere by chance.
func NewSecret() string { return "conformance-" + rand.Text() }

func (r *run) setUp(ctx context.Context) error {
	r.server, r.secret = r.Shared, r.SharedSecret
	if o := r.c.Server; o != nil {
		secret := NewSecret()
		server, err := r.Place.Server(ctx, place.ServerSpec{Name: r.name, Secret: secret, Durable: o.Durable, Flags: o.Flags, Env: o.Env})
		if err != nil {
			return err
		}
		r.server, r.secret = server, secret
		r.defers = append(r.defers, server.Close)
	}
	addr := r.server.Addr()
	r.vars["direct"], r.vars["named"] = addr, r.server.Named()
	if r.c.Link != nil {
		listen, reach := r.Place.ProxyHost(r.c.Link.IPv6)
		link, err := netfault.New(r.server.SuiteAddr, netfault.Options{Listen: listen, Reach: reach, Prefix: r.c.Link.Prefix, TLS: r.c.Link.TLS, NoSessions: r.actor != nil && r.actor.NoSessions})
		if err != nil {
			return err
		}
		r.link = link
		r.defers = append(r.defers, link.Close)
		addr = link.Addr()
	}
	r.vars["addr"], r.vars["secret"], r.vars["run"] = addr, r.secret, r.name
	if r.actor == nil {
		return nil
	}
	if r.c.Driver == nil {
		conn, err := r.actor.Shared(ctx)
		r.conn = conn
		if err == nil {
			conn.Forbid(r.secret)
		}
		return err
	}
	return r.ownDriver(ctx)
}

func (r *run) ownDriver(ctx context.Context) error {
	spec := r.actor.Spec
	own, err := filled(r, *r.c.Driver)
	if err != nil {
		return err
	}
	spec.Env, spec.Files = map[string]string{}, map[string]string{}
	maps.Copy(spec.Env, own.Env)
	if own.Dotenv != "" {
		spec.Files[".env"] = own.Dotenv
	}
	if r.link != nil {
		for name, content := range r.link.Files() {
			spec.Files[name] = string(content)
		}
	}
	if r.link != nil && r.link.CA() != nil {
		const file = "authority.pem"
		spec.Files[file] = string(r.link.CA())
		spec.Env["SSL_CERT_FILE"], spec.Env["NODE_EXTRA_CA_CERTS"] = file, file // as OpenSSL and Go, and as Node.js are told
	}
	process, err := r.Place.Driver(ctx, spec)
	if err != nil {
		return err
	}
	r.defers = append(r.defers, process.Close)
	r.conn, err = driver.Start(ctx, process, r.Schema)
	if err != nil {
		return err
	}
	r.owns = true
	r.conn.Forbid(r.secret)
	return nil
}

// tearDown ends what the case began. After a case that went well it also demands that its driver ends well and kept the secret.
func (r *run) tearDown(ctx context.Context, well bool) error {
	var errs []error
	if r.conn != nil && !r.owns {
		r.closeClients(ctx)
	}
	for _, o := range r.ops {
		if o.cancel != nil {
			o.cancel()
		}
	}
	if r.conn != nil && r.owns {
		if well && !r.quiet {
			ctx, cancel := context.WithTimeout(ctx, r.Patience)
			code, err := r.conn.End(ctx)
			cancel()
			if err == nil && code != 0 {
				err = fmt.Errorf("at the end of its input the driver exited with status %d, want 0; its standard error: %s", code, r.conn.Process.Stderr())
			}
			errs = append(errs, err)
		}
		if leaks := r.conn.Leaks(); well && len(leaks) > 0 {
			errs = append(errs, fmt.Errorf("the secret shows in what the driver wrote: %s", strings.Join(leaks, "; ")))
		}
	}
	for _, deferred := range slices.Backward(r.defers) {
		errs = append(errs, deferred())
	}
	return errors.Join(errs...)
}

// closeClients lets the shared process forget the case. How that goes is judged by the cases about closing.
func (r *run) closeClients(ctx context.Context) {
	if _, lacks := r.actor.Hello.Lacks["close"]; lacks || r.conn.Broken() != nil {
		return
	}
	for _, name := range r.clients {
		if p, err := r.conn.Send(driver.Request{Op: "close", Client: name}); err == nil {
			select {
			case <-p.Done:
			case <-time.After(2 * time.Second):
			case <-ctx.Done():
			}
		}
	}
}
