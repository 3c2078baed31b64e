package play

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/lockserver/lockserver/conformance/internal/cases"
	"github.com/lockserver/lockserver/conformance/internal/driver"
)

func (r *run) resource(name string) string { return r.name + "/" + name }

// construct constructs a client: with address, secret, the transport that is played, and an owner of the client's name, unless the case sets them or does without.
func (r *run) construct(c *cases.Client) (*op, error) {
	orElse := func(given *string, name, usual string) *string {
		if given != nil || slices.Contains(c.Without, name) {
			return given
		}
		return &usual
	}
	name := r.resource(c.Name)
	r.clients = append(r.clients, name)
	transport := c.Transport
	if transport == nil && r.actor.Transport != "" {
		transport = orElse(nil, "transport", r.actor.Transport)
	}
	return r.send("client "+c.Name, driver.Request{
		Op: "client", Client: name, Dotenv: c.Dotenv, Proxy: c.Proxy, Transport: transport, Test: c.Test,
		Addr: orElse(c.Addr, "addr", text(r.vars["addr"])), Owner: orElse(c.Owner, "owner", c.Name), Secret: orElse(c.Secret, "secret", r.secret),
	})
}

func (r *run) call(s *cases.Step, c *cases.Call) (*op, error) {
	q, as := c.Request, s.As
	if as == "" && (q.Op == "acquire" || q.Op == "scope") {
		as = q.Lock
	}
	as = cmp.Or(as, q.Op)
	for _, name := range []*string{&q.Client, &q.Lock, &q.Resource, &q.Prefix} { // all are the case's own
		if *name != "" {
			*name = r.resource(*name)
		}
	}
	if q.Op == "scope" {
		q.Form = r.form
	}
	return r.send(as, q)
}

func (r *run) send(as string, q driver.Request) (*op, error) {
	if r.conn == nil {
		return nil, fmt.Errorf("a case on the wire has no driver")
	}
	p, err := r.conn.Send(q)
	if err != nil {
		return nil, err
	}
	return &op{Pending: p, name: as}, nil
}

// giveUp gives an operation up: a driver's by the SDK's way, the runner's own by closing the connection.
func (r *run) giveUp(name string) (*op, error) {
	o, err := r.op(name)
	if err != nil {
		return nil, err
	}
	if o.cancel != nil {
		o.cancel()
		return nil, nil
	}
	return r.send("cancel "+o.name, driver.Request{Op: "cancel", Of: o.ID})
}

// controlDriver controls the driver's process.
func (r *run) controlDriver(ctx context.Context, s *cases.Step, what cases.DriverControl) (any, error) {
	if !r.owns {
		return nil, fmt.Errorf("the case has no driver process of its own (driver: {})")
	}
	p := r.conn.Process
	r.quiet = r.quiet || what == "kill" || what == "eof" || what == "wait"
	switch what {
	case "stop", "cont", "kill":
		return nil, p.Signal(signals[string(what)])
	case "eof":
		return nil, p.Stdin().Close()
	case "alive":
		short, cancel := context.WithTimeout(ctx, r.Tolerance/2)
		defer cancel()
		if code, err := p.Wait(short); err == nil {
			return nil, fmt.Errorf("the driver has ended with status %d", code)
		}
		return nil, ctx.Err()
	default: // wait
		ctx, cancel := context.WithTimeout(ctx, r.limit(s))
		defer cancel()
		code, err := p.Wait(ctx)
		return map[string]any{"exit": code, "stderr": p.Stderr()}, err
	}
}
