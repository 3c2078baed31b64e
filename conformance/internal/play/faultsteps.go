package play

import (
	"context"
	"fmt"
	"math"
	"slices"
	"syscall"
	"time"

	"github.com/lockserver/lockserver/conformance/internal/cases"
	"github.com/lockserver/lockserver/conformance/internal/netfault"
	"github.com/lockserver/lockserver/conformance/internal/place"
)

var signals = map[string]syscall.Signal{"stop": syscall.SIGSTOP, "cont": syscall.SIGCONT, "term": syscall.SIGTERM, "kill": syscall.SIGKILL}

// controlServer controls the case's own server.
func (r *run) controlServer(ctx context.Context, s *cases.Step, what cases.ServerControl) (any, error) {
	if r.c.Server == nil {
		return nil, fmt.Errorf("the case has no server of its own (server: {})")
	}
	switch what {
	case "stop", "cont", "term":
		return nil, r.server.Signal(signals[string(what)])
	case "kill":
		return nil, r.killServer(ctx)
	case "start":
		return nil, r.moved(r.server.Start(ctx))
	case "restart": // as a supervisor does after a crash
		if err := r.killServer(ctx); err != nil {
			return nil, err
		}
		return nil, r.moved(r.server.Start(ctx))
	case "cut", "heal":
		c, ok := r.server.(place.Cutter)
		if !ok {
			return nil, fmt.Errorf("this server cannot be cut off (place: [cut-server])")
		}
		if what == "cut" {
			return nil, c.Cut(ctx)
		}
		return nil, r.moved(c.Heal(ctx))
	default: // wait
		ctx, cancel := context.WithTimeout(ctx, r.limit(s))
		defer cancel()
		code, err := r.server.Wait(ctx)
		return map[string]any{"exit": code}, err
	}
}

// moved takes note of where the server is now, unless it could not be had back.
func (r *run) moved(err error) error {
	r.vars["direct"], r.vars["named"] = r.server.Addr(), r.server.Named()
	if r.link == nil {
		r.vars["addr"] = r.server.Addr()
	}
	return err
}

func (r *run) killServer(ctx context.Context) error {
	if err := r.server.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	_, err := r.server.Wait(ctx)
	return err
}

// controlLink makes and ends the faults of the network.
func (r *run) controlLink(a *cases.LinkControl) error {
	if r.link == nil {
		return errNoLink
	}
	r.link.Control(a.Fault, seconds(a.Delay))
	return nil
}

var errNoLink = fmt.Errorf("the case has no link (link: {})")

// intercept adds a rule for requests that pass the link.
func (r *run) intercept(s *cases.Step, a *cases.Intercept) error {
	if r.link == nil {
		return errNoLink
	}
	rule, err := r.link.Intercept(netfault.Intercept{Paths: a.Path, Body: a.Body, Skip: a.Skip, Times: int(a.Times), Then: netfault.Then(a.Then)})
	r.rules[s.As] = rule
	return err
}

func (r *run) rule(name string) (*netfault.Rule, error) {
	rule := r.rules[name]
	if rule == nil {
		return nil, fmt.Errorf("no intercept is named %s", name)
	}
	return rule, nil
}

// letGo lets go what an intercept holds.
func (r *run) letGo(name string) error {
	rule, err := r.rule(name)
	if err == nil {
		rule.LetGo()
	}
	return err
}

// caught waits until an intercept has caught a request (or as many as its times says).
func (r *run) caught(ctx context.Context, s *cases.Step, name string) (any, error) {
	rule, err := r.rule(name)
	if err != nil {
		return nil, err
	}
	s.Until = map[string]any{"times": map[string]any{"$ge": max(1, rule.Times)}}
	return r.until(ctx, s, func() (any, error) { return map[string]any{"times": rule.Fired()}, nil })
}

// seen says what came over the link: all requests, but for those for a session, or those to some paths, with those fields in their bodies.
func (r *run) seen(ctx context.Context, s *cases.Step, a *cases.Seen) (any, error) {
	if r.link == nil {
		return nil, errNoLink
	}
	return r.until(ctx, s, func() (any, error) { return r.requests(a), nil })
}

func (r *run) requests(a *cases.Seen) map[string]any {
	var list, ids, conns, gaps []any
	var last time.Time
	add := func(set []any, v any) []any {
		if v == nil || slices.Contains(set, v) {
			return set
		}
		return append(set, v)
	}
	for _, q := range r.link.Requests() {
		if len(a.Path) == 0 && q.Session() || len(a.Path) > 0 && !slices.Contains(a.Path, q.Path) || a.Status != nil && q.Status != *a.Status || a.Body != nil && match("", a.Body, q.Body) != "" {
			continue
		}
		headers := map[string]any{}
		for k := range q.Header {
			headers[k] = q.Header.Get(k)
		}
		if !last.IsZero() {
			gaps = append(gaps, math.Round(q.At.Sub(last).Seconds()*1000)/1000)
		}
		last = q.At
		list = append(list, map[string]any{"path": q.Path, "method": q.Method, "body": q.Body, "headers": headers, "status": q.Status, "connection": q.Connection})
		ids, conns = add(ids, q.Body["id"]), add(conns, q.Connection)
	}
	return map[string]any{"count": len(list), "requests": list, "ids": ids, "connections": len(conns), "gaps": gaps, "jitter": jitter(r.operations())}
}

// operations are the requests that are not for a session.
func (r *run) operations() []netfault.Request {
	return slices.DeleteFunc(r.link.Requests(), func(q netfault.Request) bool { return q.Session() })
}

// jitter says how much the owners' pauses differ after as many requests: the longest through the shortest, at its largest. Pauses too
// short to tell a difference from noise do not count.
func jitter(all []netfault.Request) float64 {
	const noise = 150 * time.Millisecond
	last, pauses := map[any]time.Time{}, map[any][]time.Duration{}
	for _, q := range all {
		owner := q.Body["owner"]
		if before, ok := last[owner]; ok {
			pauses[owner] = append(pauses[owner], q.At.Sub(before))
		}
		last[owner] = q.At
	}
	widest := 1.0
	for i := 0; ; i++ {
		var shortest, longest time.Duration
		for _, p := range pauses {
			if i >= len(p) {
				return widest
			}
			longest = max(longest, p[i])
			if shortest == 0 || p[i] < shortest {
				shortest = p[i]
			}
		}
		if len(pauses) == 0 {
			return widest
		}
		if shortest >= noise {
			widest = max(widest, longest.Seconds()/shortest.Seconds())
		}
	}
}
