package play

import (
	"context"
	"fmt"
	"maps"
	"syscall"

	"github.com/lockserver/lockserver/conformance/internal/cases"
)

func (r *run) unique(name any) string      { return r.name + "/" + text(name) }
func (r *run) resource(name string) string { return r.name + "/" + name }

// clientStep constructs a client: by its name, with address, secret and an owner of the client's name, unless the case sets them
// or says null.
func (r *run) clientStep(_ context.Context, s *cases.Step, args any) (*op, any, error) {
	given, ok := args.(map[string]any)
	if !ok {
		given = map[string]any{"name": args}
	}
	name := text(given["name"])
	fields := map[string]any{"addr": r.vars["addr"], "secret": r.secret, "owner": name}
	maps.Copy(fields, given)
	maps.DeleteFunc(fields, func(k string, v any) bool { return v == nil || k == "name" })
	fields["client"] = r.unique(name)
	r.client = append(r.client, r.unique(name))
	return r.send("client", "client "+name, s, fields)
}

func (r *run) driverStep(name string, s *cases.Step, args any) (*op, any, error) {
	given, _ := args.(map[string]any)
	fields := maps.Clone(given)
	if fields == nil {
		fields = map[string]any{}
	}
	as := s.As
	for _, k := range []string{"client", "lock"} {
		if v, ok := fields[k]; ok {
			if as == "" && (name == "acquire" || name == "scope") {
				as = text(fields["lock"])
			}
			fields[k] = r.unique(v)
		}
	}
	if v, ok := fields["resource"].(string); ok {
		fields["resource"] = r.resource(v)
	}
	if name == "scope" && r.form != "" {
		fields["form"] = r.form
	}
	if as == "" {
		as = name
	}
	return r.send(name, as, s, fields)
}

func (r *run) send(op, as string, _ *cases.Step, fields map[string]any) (*op, any, error) {
	if r.conn == nil {
		return nil, nil, fmt.Errorf("a case on the wire has no driver")
	}
	p, err := r.conn.Send(op, fields)
	if err != nil {
		return nil, nil, err
	}
	return fromDriver(as, p), nil, nil
}

// cancelStep gives an operation up: a driver's by the SDK's way, the runner's own by closing the connection.
func (r *run) cancelStep(_ context.Context, s *cases.Step, args any) (*op, any, error) {
	o, err := r.op(args)
	if err != nil {
		return nil, nil, err
	}
	if o.pending == nil {
		o.cancel()
		return nil, nil, nil
	}
	return r.send("cancel", "cancel "+o.name, s, map[string]any{"of": o.pending.ID})
}

// process controls the driver's process.
func (r *run) process(ctx context.Context, s *cases.Step, args any) (*op, any, error) {
	if !r.owns {
		return nil, nil, fmt.Errorf("the case has no driver process of its own (driver: {})")
	}
	p := r.conn.Process
	switch args {
	case "stop":
		return nil, nil, p.Signal(syscall.SIGSTOP)
	case "cont":
		return nil, nil, p.Signal(syscall.SIGCONT)
	case "kill":
		r.quiet = true
		return nil, nil, p.Signal(syscall.SIGKILL)
	case "eof":
		r.quiet = true
		return nil, nil, p.Stdin().Close()
	case "alive":
		short, cancel := context.WithTimeout(ctx, r.Tolerance/2)
		defer cancel()
		if code, err := p.Wait(short); err == nil {
			return nil, nil, fmt.Errorf("the driver has ended with status %d", code)
		}
		return nil, nil, ctx.Err()
	case "wait":
		r.quiet = true
		ctx, cancel := context.WithTimeout(ctx, r.limit(s))
		defer cancel()
		code, err := p.Wait(ctx)
		return nil, map[string]any{"exit": code, "stderr": p.Stderr()}, err
	}
	return nil, nil, fmt.Errorf("wants stop, cont, kill, eof, alive or wait")
}
