package prove

import (
	"context"
	"errors"
	"time"
)

// network is the lane of what goes wrong between clients and servers.
func (r *run) network() []kind {
	toxic := func(name string, weight int, least, most time.Duration, attributes func(f fault) (kind string, values map[string]any), streams ...string) kind {
		return kind{name, weight, least, most, func(ctx context.Context, f fault) error {
			what, values := attributes(f)
			return poisoned(ctx, f, r.some(f), what, values, streams...)
		}}
	}
	return []kind{
		{"cut", 3, 50 * time.Millisecond, 2 * time.Second, func(ctx context.Context, f fault) error { return cut(ctx, f, r.some(f)) }},
		// Connections stay, and nothing passes; they end when it is over.
		toxic("half-open", 2, 500*time.Millisecond, 4*time.Second, func(fault) (string, map[string]any) {
			return "timeout", map[string]any{"timeout": 0}
		}, "upstream", "downstream"),
		toxic("latency", 2, time.Second, 3*time.Second, func(f fault) (string, map[string]any) {
			return "latency", map[string]any{"latency": 2 + f.degree*2, "jitter": f.degree}
		}, "upstream", "downstream"),
		toxic("bandwidth", 1, time.Second, 3*time.Second, func(f fault) (string, map[string]any) {
			return "bandwidth", map[string]any{"rate": 2 + f.degree/4} // kB/s
		}, "upstream", "downstream"),
		toxic("reset in mid-answer", 2, 200*time.Millisecond, 1500*time.Millisecond, func(f fault) (string, map[string]any) {
			return "limit_data", map[string]any{"bytes": f.degree * 6}
		}, "downstream"),
		toxic("cut in mid-request", 2, 200*time.Millisecond, 1500*time.Millisecond, func(f fault) (string, map[string]any) {
			return "limit_data", map[string]any{"bytes": f.degree * 6}
		}, "upstream"),
		toxic("reset", 2, 100*time.Millisecond, time.Second, func(f fault) (string, map[string]any) {
			return "reset_peer", map[string]any{"timeout": f.degree}
		}, "downstream"),
	}
}

// some are the links that a fault is on: one, or one of six times all.
func (r *run) some(f fault) []*link {
	if f.target%6 == 0 {
		return r.links
	}
	i := f.target / 6 % len(r.links)
	return r.links[i : i+1]
}

// cut severs links for as long as the fault lasts.
func cut(ctx context.Context, f fault, links []*link) (err error) {
	for _, l := range links {
		l.sever()
	}
	pause(ctx, f.length)
	for _, l := range links {
		err = errors.Join(err, l.mend())
	}
	return err
}

// poisoned has toxics on links for as long as the fault lasts.
func poisoned(ctx context.Context, f fault, links []*link, kind string, attributes map[string]any, streams ...string) error {
	cure, err := poison(f, links, kind, attributes, streams...)
	pause(ctx, f.length)
	return errors.Join(err, cure())
}

// poison puts toxics on links, until cure.
func poison(f fault, links []*link, kind string, attributes map[string]any, streams ...string) (cure func() error, err error) {
	var cures []func() error
	for _, l := range links {
		for _, stream := range streams {
			one, failed := l.poison(f.kind, kind, stream, attributes)
			if failed != nil {
				err = errors.Join(err, failed)
				continue
			}
			cures = append(cures, one)
		}
	}
	return func() (err error) {
		for _, cure := range cures {
			err = errors.Join(err, cure())
		}
		return err
	}, err
}
