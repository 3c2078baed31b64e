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
			var cures []func() error
			var errs []error
			for _, l := range r.some(f) {
				for _, stream := range streams {
					cure, err := l.poison(what, stream, values)
					if err != nil {
						errs = append(errs, err)
						continue
					}
					cures = append(cures, cure)
				}
			}
			pause(ctx, f.length)
			for _, cure := range cures {
				errs = append(errs, cure())
			}
			return errors.Join(errs...)
		}}
	}
	return []kind{
		{"cut", 3, 50 * time.Millisecond, 2 * time.Second, func(ctx context.Context, f fault) error {
			some := r.some(f)
			for _, l := range some {
				l.sever()
			}
			pause(ctx, f.length)
			var errs []error
			for _, l := range some {
				errs = append(errs, l.mend())
			}
			return errors.Join(errs...)
		}},
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
