package play

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lockserver/lockserver/conformance/internal/cases"
	"github.com/lockserver/lockserver/conformance/internal/contract"
)

// do carries out a step. It gives the op that the step began, or the step's own result.
func (r *run) do(ctx context.Context, s *cases.Step) (o *op, result any, err error) {
	switch a := s.Action.(type) {
	case *cases.Client:
		o, err = r.construct(a)
	case *cases.Call:
		o, err = r.call(s, a)
	case *cases.Cancel:
		o, err = r.giveUp(string(*a))
	case *cases.HTTP:
		if s.Until != nil {
			result, err = r.httpUntil(ctx, s, a)
			break
		}
		o, err = r.http(ctx, s, a)
	case *cases.TCP:
		o, err = r.tcp(ctx, s, a)
	case *cases.Session:
		o, err = r.openSession(ctx, s, a)
	case *cases.Ask:
		o, err = r.ask(ctx, s, a)
	case *cases.Frame:
		err = r.frame(ctx, a)
	case *cases.Heard:
		result, err = r.heard(ctx, s, string(*a))
	case *cases.Entered:
		result, err = r.event(ctx, s, string(*a), "entered")
	case *cases.Told:
		result, err = r.event(ctx, s, string(*a), "told")
	case *cases.Still:
		err = r.still(ctx, a)
	case *cases.Pass:
		err = pass(ctx, seconds(float64(*a)))
	case *cases.Repeat:
		result, err = r.repeat(ctx, s, int(*a))
	case *cases.Each:
		err = r.each(ctx, s, *a)
	case *cases.Look:
		result, err = r.look(ctx, s, string(*a))
	case *cases.ServerControl:
		result, err = r.controlServer(ctx, s, *a)
	case *cases.DriverControl:
		result, err = r.controlDriver(ctx, s, *a)
	case *cases.LinkControl:
		err = r.controlLink(a)
	case *cases.Intercept:
		err = r.intercept(s, a)
	case *cases.Caught:
		result, err = r.caught(ctx, s, string(*a))
	case *cases.LetGo:
		err = r.letGo(string(*a))
	case *cases.Seen:
		result, err = r.seen(ctx, s, a)
	default:
		err = fmt.Errorf("%T is not played", a)
	}
	return o, result, err
}

func (r *run) steps(ctx context.Context, steps []cases.Step) error {
	for i := range steps {
		if err := r.step(ctx, &steps[i]); err != nil {
			action, _, _ := strings.Cut(steps[i].Source, " ")
			return fmt.Errorf("%s line %d: %s: %w", r.c.File, steps[i].Line, action, err)
		}
	}
	return nil
}

func (r *run) step(ctx context.Context, raw *cases.Step) error {
	s, err := filled(r, *raw)
	if err != nil {
		return err
	}
	r.tracef("%s", cut(s.Source))
	if name, ok := s.Action.(*cases.Await); ok {
		o, err := r.op(string(*name))
		if err != nil {
			return err
		}
		return r.finish(ctx, &s, o)
	}
	o, result, err := r.do(ctx, &s)
	if err != nil {
		return err
	}
	if o == nil {
		return r.judge(&s, result)
	}
	if before := r.ops[o.name]; before != nil && !over(before.Done) {
		return fmt.Errorf("the case uses the name %s for two operations at once", o.name)
	}
	r.ops[o.name] = o
	if call, ok := s.Action.(*cases.Call); s.Start || ok && call.Op == "scope" {
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
	if err := await(ctx, o.Done, r.limit(s), o.name); err != nil {
		return err
	}
	took := o.Ended.Sub(o.Sent)
	r.durations = append(r.durations, took)
	r.tracef("  %s ended after %.3f s: %s", o.name, took.Seconds(), cut(o.Answer.Text()))
	if o.Answer.Fault != "" {
		return errors.New(o.Answer.Text())
	}
	if err := r.took(s.Took, took); err != nil {
		return err
	}
	if m, ok := s.Fails.(map[string]any); ok && m["$any"] != nil {
		return nil // however it ended
	}
	if s.Fails != nil {
		return r.fails(s.Fails, o)
	}
	if o.Answer.Error != nil {
		return fmt.Errorf("%s failed: %s", o.name, show(o.Answer.Error))
	}
	r.vars[o.name] = o.Answer.OK
	if s.As != "" {
		r.vars[s.As] = o.Answer.OK
	}
	want := s.Expect
	if want == nil {
		want = usual(o)
	}
	if want == nil {
		return nil
	}
	if d := match("it", want, o.Answer.OK); d != "" {
		return fmt.Errorf("%s: %s", o.name, d)
	}
	return nil
}

// usual is what is expected of an op where the case says nothing.
func usual(o *op) any {
	switch {
	case o.session != nil:
		return map[string]any{"status": 101}
	case o.ID == 0:
		return map[string]any{"status": 200}
	case o.Op == "acquire":
		return map[string]any{"granted": true}
	}
	return nil
}

// fails checks an SDK's error: what the case wants, and that its names derive from its code.
func (r *run) fails(want any, o *op) error {
	if o.Answer.Error == nil {
		return fmt.Errorf("%s: want it to fail with %s, but it ended with %s", o.name, show(want), show(o.Answer.OK))
	}
	r.vars[o.name] = o.Answer.Error
	if code, ok := want.(string); ok {
		want = map[string]any{"code": code}
	}
	if _, lacks := r.actor.Hello.Lacks["errors"]; lacks {
		if m, ok := want.(map[string]any); ok && m["code"] != nil {
			return nil // that it failed is all that such an SDK can say
		}
	}
	if d := match("error", want, o.Answer.Error); d != "" {
		return fmt.Errorf("%s: %s (in %s)", o.name, d, show(o.Answer.Error))
	}
	code, ok := o.Answer.Error["code"].(string)
	if !ok {
		return nil
	}
	if o.Answer.Error["base"] != true {
		return fmt.Errorf("%s: an error with a code is to be under the SDK's one base error, got %s", o.name, show(o.Answer.Error))
	}
	if !r.Codes[code] {
		if w, _ := want.(map[string]any); w["code"] == code { // that of a server to come
			return nil
		}
		return fmt.Errorf("%s: the code %q is not in contract.json", o.name, code)
	}
	name := contract.Class(code)
	if r.actor.Hello.Names == "go" {
		name = "Err" + contract.Go(code)
	}
	if o.Answer.Error["class"] != name {
		return fmt.Errorf("%s: an error of code %s is to be a %s, got %s", o.name, code, name, show(o.Answer.Error))
	}
	return nil
}

// took checks a time. It may be longer by the tolerance, and by a little shorter than at_least only as far as clocks are read at
// different moments.
func (r *run) took(want *cases.Took, got time.Duration) error {
	const clocks = 5 * time.Millisecond
	switch {
	case want == nil:
	case want.AtLeast != nil && got < seconds(*want.AtLeast)-clocks:
		return fmt.Errorf("took %v, want at least %v", got, seconds(*want.AtLeast))
	case want.AtMost != nil && got > seconds(*want.AtMost)+r.Tolerance:
		return fmt.Errorf("took %v, want at most %v and a tolerance of %v", got, seconds(*want.AtMost), r.Tolerance)
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

func (r *run) op(name string) (*op, error) {
	o := r.ops[name]
	if o == nil {
		return nil, fmt.Errorf("no operation is named %s", name)
	}
	return o, nil
}

// event waits for an event of an operation.
func (r *run) event(ctx context.Context, s *cases.Step, of, name string) (any, error) {
	o, err := r.op(of)
	if err != nil {
		return nil, err
	}
	e := o.Event(name)
	either := make(chan struct{})
	go func() {
		defer close(either)
		select {
		case <-e.Done:
		case <-o.Done:
		}
	}()
	if err := await(ctx, either, r.limit(s), o.name+" "+name); err != nil {
		return nil, err
	}
	if !over(e.Done) {
		return nil, fmt.Errorf("%s ended and was never %s: %s", o.name, name, o.Answer.Text())
	}
	if err := r.took(s.Took, e.At.Sub(o.Sent)); err != nil {
		return nil, err
	}
	if name == "entered" {
		r.vars[o.name] = e.Fields
	}
	return e.Fields, nil
}

// still demands, now or for a while, that operations have not ended, and scopes have begun or not.
func (r *run) still(ctx context.Context, a *cases.Still) error {
	// A message on its way must not be missed, nor read before it: the time is short, as the case has seen by other means that it is due.
	end := time.Now().Add(max(seconds(a.For), 20*time.Millisecond))
	for _, name := range a.Of {
		o, err := r.op(name)
		if err != nil {
			return err
		}
		timer := time.NewTimer(time.Until(end))
		var event <-chan struct{}
		if !a.Begun {
			event = o.Event("entered").Done
		}
		select {
		case <-o.Done:
			err = fmt.Errorf("%s is not pending any more: %s", o.name, o.Answer.Text())
		case <-event:
			err = fmt.Errorf("%s is not pending any more: its body has begun", o.name)
		case <-timer.C:
		case <-ctx.Done():
			err = ctx.Err()
		}
		timer.Stop()
		if err == nil && a.Begun && !over(o.Event("entered").Done) {
			err = fmt.Errorf("the body of %s has not begun", o.name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// pass lets time go by.
func pass(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// until looks again and again, until what it sees is as the case wants it; without such a wish it looks once.
func (r *run) until(ctx context.Context, s *cases.Step, look func() (any, error)) (any, error) {
	for deadline := time.Now().Add(r.limit(s)); ; {
		seen, err := look()
		if s.Until == nil {
			return seen, err
		}
		var d string
		if err != nil {
			d = err.Error() // a server that is down may come back
		} else if d = match("it", s.Until, seen); d == "" {
			return seen, nil
		}
		if time.Now().After(deadline) || pass(ctx, 5*time.Millisecond) != nil {
			return nil, fmt.Errorf("it never came to be: %s", d)
		}
	}
}

// repeat repeats steps, with ${i} counting from 1. Its result is a quartile of the times of the operations that ended within: a quarter
// of them was quicker.
func (r *run) repeat(ctx context.Context, s *cases.Step, n int) (any, error) {
	began, before := time.Now(), len(r.durations)
	for i := range n {
		r.vars["i"] = i + 1
		if err := r.steps(ctx, s.Steps); err != nil {
			return nil, fmt.Errorf("time %d: %w", i+1, err)
		}
	}
	quartile := 0.0
	if all := slices.Sorted(slices.Values(r.durations[before:])); len(all) > 0 {
		quartile = all[len(all)/4].Seconds()
	}
	return map[string]any{"quartile": quartile}, r.took(s.Took, time.Since(began))
}

// each plays the steps for each of some rows, with ${row.field} and ${i} counting from 1.
func (r *run) each(ctx context.Context, s *cases.Step, rows []map[string]any) error {
	for i, row := range rows {
		r.vars["i"], r.vars["row"] = i+1, row
		if err := r.steps(ctx, s.Steps); err != nil {
			return fmt.Errorf("row %d, %s: %w", i+1, show(row), err)
		}
	}
	return nil
}
