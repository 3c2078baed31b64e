package play

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lockserver/lockserver/conformance/internal/cases"
	"github.com/lockserver/lockserver/conformance/internal/contract"
)

// action carries out a step. It gives the op that the step began, or the step's own result.
type action func(r *run, ctx context.Context, s *cases.Step, args any) (*op, any, error)

// actions are the steps that there are.
func actions() map[string]action {
	m := map[string]action{
		"await": (*run).await, "pending": (*run).pending, "entered": (*run).entered, "told": (*run).told, "running": (*run).running,
		"pass": (*run).pass, "repeat": (*run).repeat, "each": (*run).each, "http": (*run).http, "tcp": (*run).tcp, "look": (*run).look,
		"server": (*run).serverStep, "link": (*run).linkStep, "intercept": (*run).intercept, "let_go": (*run).letGo, "caught": (*run).caughtStep,
		"seen": (*run).seen, "process": (*run).process, "client": (*run).clientStep, "cancel": (*run).cancelStep,
	}
	for _, name := range []string{"acquire", "scope", "leave", "release", "renew", "check", "watch", "close", "clock", "text", "env", "leaks", "end"} {
		m[name] = func(r *run, ctx context.Context, s *cases.Step, args any) (*op, any, error) {
			return r.driverStep(name, s, args)
		}
	}
	return m
}

func (r *run) steps(ctx context.Context, steps []cases.Step) error {
	for i := range steps {
		s := &steps[i]
		if err := r.step(ctx, s); err != nil {
			return fmt.Errorf("%s line %d: %s: %w", r.c.File, s.Line, s.Action, err)
		}
	}
	return nil
}

func (r *run) step(ctx context.Context, raw *cases.Step) error {
	s := *raw
	do, ok := actions()[s.Action]
	if !ok {
		return fmt.Errorf("no such action")
	}
	args, err := r.fill(s.Args)
	if err != nil {
		return err
	}
	as, err := r.fill(s.As)
	if err != nil {
		return err
	}
	s.As = text(as)
	for _, part := range []*any{&s.Expect, &s.Fails, &s.Until} {
		if *part, err = r.fill(*part); err != nil {
			return err
		}
	}
	r.tracef("%s %s", s.Action, show(args))
	o, result, err := do(r, ctx, &s, args)
	if err != nil {
		return err
	}
	if o == nil {
		return r.judge(&s, result)
	}
	if _, taken := r.ops[o.name]; taken && !r.ops[o.name].isDone() {
		return fmt.Errorf("the case uses the name %s for two operations at once", o.name)
	}
	r.ops[o.name] = o
	if s.Start || s.Action == "scope" {
		return nil
	}
	return r.finish(ctx, &s, o)
}

func (r *run) tracef(format string, args ...any) {
	r.trace = append(r.trace, fmt.Sprintf("%7.3f  ", time.Since(r.began).Seconds())+fmt.Sprintf(format, args...))
}

// judge looks at the result of a step that is over at once.
func (r *run) judge(s *cases.Step, result any) error {
	if s.As != "" {
		r.vars[s.As] = result
	}
	if s.Expect != nil {
		if d := match("it", s.Expect, result); d != "" {
			return fmt.Errorf("%s", d)
		}
	}
	return nil
}

// finish waits for an op, and looks at how it ended and when.
func (r *run) finish(ctx context.Context, s *cases.Step, o *op) error {
	if err := o.wait(ctx, r.limit(s)); err != nil {
		return err
	}
	r.durations = append(r.durations, o.ended.Sub(o.sent))
	r.tracef("  %s ended after %.3f s: %s", o.name, o.ended.Sub(o.sent).Seconds(), o.outcome())
	if o.err != nil {
		return o.err
	}
	if err := r.took(s.Took, o.ended.Sub(o.sent)); err != nil {
		return err
	}
	if m, ok := s.Fails.(map[string]any); ok && m["$any"] != nil {
		return nil // however it ended
	}
	if s.Fails != nil {
		return r.fails(s.Fails, o)
	}
	if o.failed != nil {
		return fmt.Errorf("%s failed: %s", o.name, show(o.failed))
	}
	r.vars[o.name] = o.ok
	if s.As != "" {
		r.vars[s.As] = o.ok
	}
	want := s.Expect
	if want == nil {
		want = usual(o)
	}
	if want == nil {
		return nil
	}
	if d := match("it", want, o.ok); d != "" {
		return fmt.Errorf("%s: %s", o.name, d)
	}
	return nil
}

// usual is what is expected of an op where the case says nothing.
func usual(o *op) any {
	switch {
	case o.pending == nil:
		return map[string]any{"status": 200}
	case o.pending.Op == "acquire":
		return map[string]any{"granted": true}
	}
	return nil
}

// fails checks an SDK's error: what the case wants, and that its names derive from its code.
func (r *run) fails(want any, o *op) error {
	if o.failed == nil {
		return fmt.Errorf("%s: want it to fail with %s, but it ended with %s", o.name, show(want), show(o.ok))
	}
	r.vars[o.name] = o.failed
	if code, ok := want.(string); ok {
		want = map[string]any{"code": code}
	}
	if _, lacks := r.actor.Hello.Lacks["errors"]; lacks {
		if m, ok := want.(map[string]any); ok && m["code"] != nil {
			return nil // that it failed is all that such an SDK can say
		}
	}
	if d := match("error", want, o.failed); d != "" {
		return fmt.Errorf("%s: %s (in %s)", o.name, d, show(o.failed))
	}
	code, ok := o.failed["code"].(string)
	if !ok {
		return nil
	}
	if o.failed["base"] != true {
		return fmt.Errorf("%s: an error with a code is to be under the SDK's one base error, got %s", o.name, show(o.failed))
	}
	if !slices.ContainsFunc(r.Contract.Codes, func(c contract.Code) bool { return c.Code == code }) {
		if w, _ := want.(map[string]any); w["code"] == code { // that of a server to come
			return nil
		}
		return fmt.Errorf("%s: the code %q is not in contract.json", o.name, code)
	}
	name := contract.Class(code)
	if r.actor.Hello.Names == "go" {
		name = "Err" + contract.Go(code)
	}
	if o.failed["class"] != name {
		return fmt.Errorf("%s: an error of code %s is to be a %s, got %s", o.name, code, name, show(o.failed))
	}
	return nil
}

// took checks a time: a number of seconds, or {at_least, at_most}. It may be longer by the tolerance, and by a little shorter
// than at_least only as far as clocks are read at different moments.
func (r *run) took(want any, got time.Duration) error {
	if want == nil {
		return nil
	}
	least, most := want, want
	if m, ok := want.(map[string]any); ok {
		least, most = m["at_least"], m["at_most"]
	}
	const clocks = 5 * time.Millisecond
	if f, ok := number(least); ok && got < seconds(f)-clocks {
		return fmt.Errorf("took %v, want at least %v", got, seconds(f))
	}
	if f, ok := number(most); ok && got > seconds(f)+r.Tolerance {
		return fmt.Errorf("took %v, want at most %v and a tolerance of %v", got, seconds(f), r.Tolerance)
	}
	return nil
}

// limit is how long a step may take from now on.
func (r *run) limit(s *cases.Step) time.Duration {
	if s.Within == nil {
		return r.Patience
	}
	return seconds(*s.Within) + r.Tolerance
}

func seconds(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }

func (r *run) op(args any) (*op, error) {
	name, ok := args.(string)
	if !ok {
		return nil, fmt.Errorf("wants the name of an operation")
	}
	o := r.ops[name]
	if o == nil {
		return nil, fmt.Errorf("no operation is named %s", name)
	}
	return o, nil
}

func (r *run) await(ctx context.Context, s *cases.Step, args any) (*op, any, error) {
	o, err := r.op(args)
	if err != nil {
		return nil, nil, err
	}
	once := *s
	*s = cases.Step{} // all is judged here
	return nil, nil, r.finish(ctx, &once, o)
}

func (r *run) entered(ctx context.Context, s *cases.Step, args any) (*op, any, error) {
	return r.event(ctx, s, args, "entered")
}

func (r *run) told(ctx context.Context, s *cases.Step, args any) (*op, any, error) {
	return r.event(ctx, s, args, "told")
}

func (r *run) event(ctx context.Context, s *cases.Step, args any, name string) (*op, any, error) {
	o, err := r.op(args)
	if err != nil {
		return nil, nil, err
	}
	e := o.pending.Event(name)
	either := make(chan struct{})
	go func() {
		defer close(either)
		select {
		case <-e.Done:
		case <-o.done:
		}
	}()
	if err := await(ctx, either, r.limit(s), o.name+" "+name); err != nil {
		return nil, nil, err
	}
	if !o.happened(name) {
		return nil, nil, fmt.Errorf("%s ended and was never %s: %s", o.name, name, o.outcome())
	}
	if err := r.took(s.Took, e.At.Sub(o.sent)); err != nil {
		return nil, nil, err
	}
	if name == "entered" {
		r.vars[o.name] = e.Fields
	}
	return nil, e.Fields, nil
}

// pending demands that operations have not ended (and scopes not begun), now or for a while.
func (r *run) pending(ctx context.Context, s *cases.Step, args any) (*op, any, error) {
	return nil, nil, r.still(ctx, s, args, false)
}

// running demands that scopes have begun and not ended.
func (r *run) running(ctx context.Context, s *cases.Step, args any) (*op, any, error) {
	return nil, nil, r.still(ctx, s, args, true)
}

func (r *run) still(ctx context.Context, s *cases.Step, args any, begun bool) error {
	var names []any
	var while time.Duration
	switch a := args.(type) {
	case map[string]any:
		names = asList(a["of"])
		f, _ := number(a["for"])
		while = seconds(f)
	default:
		names = asList(a)
	}
	// A message on its way must not be missed, nor read before it: the time is short, as the case has seen by other means that it is due.
	over := time.Now().Add(max(while, 20*time.Millisecond))
	for _, name := range names {
		o, err := r.op(name)
		if err != nil {
			return err
		}
		timer := time.NewTimer(time.Until(over))
		var event <-chan struct{}
		if !begun && o.pending != nil {
			event = o.pending.Event("entered").Done
		}
		select {
		case <-o.done:
			err = fmt.Errorf("%s is not pending any more: %s", o.name, o.outcome())
		case <-event:
			err = fmt.Errorf("%s is not pending any more: its body has begun", o.name)
		case <-timer.C:
		case <-ctx.Done():
			err = ctx.Err()
		}
		timer.Stop()
		if err == nil && begun && !o.happened("entered") {
			err = fmt.Errorf("the body of %s has not begun", o.name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// pass lets time go by.
func (r *run) pass(ctx context.Context, _ *cases.Step, args any) (*op, any, error) {
	f, ok := number(args)
	if !ok {
		return nil, nil, fmt.Errorf("wants seconds")
	}
	timer := time.NewTimer(seconds(f))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil, nil, nil
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

// repeat repeats steps, with ${i} counting from 1. Its result is a quartile of the times of the operations that ended within: a quarter
// of them was quicker.
func (r *run) repeat(ctx context.Context, s *cases.Step, args any) (*op, any, error) {
	n, ok := number(args)
	if !ok {
		return nil, nil, fmt.Errorf("wants a number of times")
	}
	began, before := time.Now(), len(r.durations)
	for i := range int(n) {
		r.vars["i"] = i + 1
		if err := r.steps(ctx, s.Steps); err != nil {
			return nil, nil, fmt.Errorf("time %d: %w", i+1, err)
		}
	}
	quartile := 0.0
	if all := slices.Sorted(slices.Values(r.durations[before:])); len(all) > 0 {
		quartile = all[len(all)/4].Seconds()
	}
	return nil, map[string]any{"quartile": quartile}, r.took(s.Took, time.Since(began))
}

// each plays the steps for each of some rows, with ${row.field} and ${i} counting from 1.
func (r *run) each(ctx context.Context, s *cases.Step, args any) (*op, any, error) {
	for i, row := range asList(args) {
		r.vars["i"], r.vars["row"] = i+1, row
		if err := r.steps(ctx, s.Steps); err != nil {
			return nil, nil, fmt.Errorf("row %d, %s: %w", i+1, show(row), err)
		}
	}
	return nil, nil, nil
}
