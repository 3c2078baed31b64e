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

// serverStep controls the case's own server.
func (r *run) serverStep(ctx context.Context, s *cases.Step, args any) (*op, any, error) {
	if r.c.Server == nil {
		return nil, nil, fmt.Errorf("the case has no server of its own (server: {})")
	}
	switch args {
	case "stop":
		return nil, nil, r.server.Signal(syscall.SIGSTOP)
	case "cont":
		return nil, nil, r.server.Signal(syscall.SIGCONT)
	case "term":
		return nil, nil, r.server.Signal(syscall.SIGTERM)
	case "kill":
		return nil, nil, r.end(ctx, syscall.SIGKILL)
	case "start":
		return nil, nil, r.startServer(ctx)
	case "restart": // as a supervisor does after a crash
		if err := r.end(ctx, syscall.SIGKILL); err != nil {
			return nil, nil, err
		}
		return nil, nil, r.startServer(ctx)
	case "cut", "heal":
		c, ok := r.server.(place.Cutter)
		if !ok {
			return nil, nil, fmt.Errorf("this server cannot be cut off (place: [cut-server])")
		}
		if args == "cut" {
			return nil, nil, c.Cut(ctx)
		}
		return nil, nil, r.healServer(ctx, c)
	case "wait":
		ctx, cancel := context.WithTimeout(ctx, r.limit(s))
		defer cancel()
		code, err := r.server.Wait(ctx)
		return nil, map[string]any{"exit": code}, err
	}
	return nil, nil, fmt.Errorf("wants stop, cont, term, kill, start, restart, cut, heal or wait")
}

func (r *run) startServer(ctx context.Context) error {
	if err := r.server.Start(ctx); err != nil {
		return err
	}
	r.moved()
	return nil
}

func (r *run) healServer(ctx context.Context, c place.Cutter) error {
	if err := c.Heal(ctx); err != nil {
		return err
	}
	r.moved()
	return nil
}

// moved takes note of where the server is now.
func (r *run) moved() {
	r.vars["named"] = r.server.Named()
	if r.link == nil {
		r.vars["addr"] = r.server.Addr()
	}
}

func (r *run) end(ctx context.Context, sig syscall.Signal) error {
	if err := r.server.Signal(sig); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	_, err := r.server.Wait(ctx)
	return err
}

// linkStep makes and ends the faults of the network.
func (r *run) linkStep(_ context.Context, _ *cases.Step, args any) (*op, any, error) {
	if r.link == nil {
		return nil, nil, errNoLink
	}
	switch a := args.(type) {
	case string:
		switch a {
		case "cut":
			r.link.Cut()
			return nil, nil, nil
		case "blackhole":
			return nil, nil, r.link.Blackhole()
		case "drop_answers":
			return nil, nil, r.link.DropAnswers()
		case "heal":
			r.link.Heal()
			return nil, nil, nil
		}
	case map[string]any:
		if f, ok := number(a["delay"]); ok {
			return nil, nil, r.link.Delay(f)
		}
	}
	return nil, nil, fmt.Errorf("wants cut, blackhole, drop_answers, {delay: seconds} or heal")
}

var errNoLink = fmt.Errorf("the case has no link (link: {})")

type caught struct {
	rule *netfault.Rule
	hold chan struct{}
	gone bool
}

// intercept adds a rule for requests that pass the link.
func (r *run) intercept(_ context.Context, s *cases.Step, args any) (*op, any, error) {
	if r.link == nil {
		return nil, nil, errNoLink
	}
	a, ok := args.(map[string]any)
	if !ok || s.As == "" {
		return nil, nil, fmt.Errorf("wants an object and a name (as)")
	}
	rule := &netfault.Rule{Times: 1}
	c := &caught{rule: rule, hold: make(chan struct{})}
	if p, ok := a["path"]; ok {
		rule.Path = text(p)
	}
	if n, ok := number(a["times"]); ok {
		rule.Times = int(n)
	}
	if a["times"] == "all" {
		rule.Times = -1
	}
	if n, ok := number(a["skip"]); ok {
		rule.Skip = int(n)
	}
	if body, ok := a["body"].(map[string]any); ok {
		rule.Body = map[string]any{}
		for k, v := range body {
			if f, ok := number(v); ok {
				v = f
			}
			rule.Body[k] = v
		}
	}
	if err := r.ruleAction(rule, c, a["then"]); err != nil {
		return nil, nil, err
	}
	s.Expect, r.rules[s.As] = nil, c
	s.As = ""
	r.link.Intercept(rule)
	return nil, nil, nil
}

func (r *run) ruleAction(rule *netfault.Rule, c *caught, then any) error {
	switch t := then.(type) {
	case string:
		switch t {
		case "drop_answer":
			rule.Drop = true
			return nil
		case "lose":
			rule.Lose = true
			return nil
		case "hold_answer":
			rule.Hold = c.hold
			return nil
		case "hold_request":
			rule.HoldBack = c.hold
			return nil
		}
	case map[string]any:
		if f, ok := number(t["delay"]); ok {
			rule.Delay = seconds(f)
			return nil
		}
		if m, ok := t["merge"].(map[string]any); ok {
			rule.Merge = m
			return nil
		}
		if status, ok := number(t["status"]); ok {
			rule.Answer = &netfault.Answer{Status: int(status), Header: map[string]string{}, Body: []byte(text(t["body"]))}
			if t["latin1"] == true {
				rule.Answer.Body = latin1(text(t["body"]))
			}
			if h, ok := t["headers"].(map[string]any); ok {
				for k, v := range h {
					rule.Answer.Header[k] = text(v)
				}
			}
			return nil
		}
	}
	return fmt.Errorf("then: wants drop_answer, lose, hold_answer, hold_request, {delay}, {merge} or {status, headers, body}")
}

// latin1 makes a byte of each character.
func latin1(s string) []byte {
	var b []byte
	for _, c := range s {
		b = append(b, byte(c))
	}
	return b
}

func (r *run) rule(args any) (*caught, error) {
	c := r.rules[text(args)]
	if c == nil {
		return nil, fmt.Errorf("no intercept is named %s", text(args))
	}
	return c, nil
}

// letGo lets go what an intercept holds.
func (r *run) letGo(_ context.Context, _ *cases.Step, args any) (*op, any, error) {
	c, err := r.rule(args)
	if err == nil && !c.gone {
		c.gone = true
		close(c.hold)
	}
	return nil, nil, err
}

// caughtStep waits until an intercept has caught a request (or as many as its times says).
func (r *run) caughtStep(ctx context.Context, s *cases.Step, args any) (*op, any, error) {
	c, err := r.rule(args)
	if err != nil {
		return nil, nil, err
	}
	want := max(1, c.rule.Times)
	for deadline := time.Now().Add(r.limit(s)); c.rule.Fired() < want; {
		if time.Now().After(deadline) {
			return nil, nil, fmt.Errorf("%s has caught %d of %d requests", text(args), c.rule.Fired(), want)
		}
		if _, _, err := r.pass(ctx, nil, 0.005); err != nil {
			return nil, nil, err
		}
	}
	return nil, map[string]any{"times": c.rule.Fired()}, nil
}

// seen says what came over the link: all requests, or those to one path, with those fields in their bodies.
func (r *run) seen(ctx context.Context, s *cases.Step, args any) (*op, any, error) {
	if r.link == nil {
		return nil, nil, errNoLink
	}
	a, _ := args.(map[string]any)
	until := s.Until
	s.Until = nil
	for deadline := time.Now().Add(r.limit(s)); ; {
		m := r.requests(a)
		if until == nil {
			return nil, m, nil
		}
		d := match("it", until, m)
		if d == "" {
			return nil, m, nil
		}
		if time.Now().After(deadline) {
			return nil, nil, fmt.Errorf("it never came to be: %s", d)
		}
		if _, _, err := r.pass(ctx, nil, 0.005); err != nil {
			return nil, nil, err
		}
	}
}

func (r *run) requests(a map[string]any) map[string]any {
	var list, ids, conns, gaps []any
	var last time.Time
	add := func(set []any, v any) []any {
		if v == nil || slices.Contains(set, v) {
			return set
		}
		return append(set, v)
	}
	for _, q := range r.link.Requests() {
		if path, ok := a["path"]; ok && q.Path != text(path) {
			continue
		}
		body := map[string]any{}
		for k, v := range q.Body {
			body[k] = v
		}
		if want, ok := a["body"]; ok && match("", want, body) != "" {
			continue
		}
		if want, ok := a["status"]; ok && match("", want, q.Status) != "" {
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
		list = append(list, map[string]any{"path": q.Path, "method": q.Method, "body": body, "headers": headers, "status": q.Status, "connection": q.Connection})
		ids, conns = add(ids, q.Body["id"]), add(conns, q.Connection)
	}
	return map[string]any{"count": len(list), "requests": list, "ids": ids, "connections": len(conns), "gaps": gaps, "jitter": jitter(r.link.Requests())}
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
