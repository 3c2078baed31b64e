package prove

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"
)

var errStuck = errors.New("calls do not end")

// settled is how long a lock may stay that no client knows of: the longest lease of one that gave up, and the place that is kept for a
// grant that could not be delivered.
const settled = 10*time.Second + 1500*time.Millisecond

// quiet checks that just what clients hold is held: no ghost, and nothing lost. What somebody else still holds has to be gone in time.
func (r *run) quiet(ctx context.Context, round string, kept [][]*lease) error {
	want := map[string]int64{}
	for _, l := range slices.Concat(kept...) {
		if l.held {
			want[l.op.Resource] = l.op.Token
		}
	}
	from := r.h.now()
	giveUp := time.Now().Add(settled + 2*slack)
	for {
		have, waiters, err := r.locks(ctx, round+"-")
		if err != nil {
			return err
		}
		if maps.Equal(want, have) && waiters == 0 {
			return nil
		}
		if time.Now().After(giveUp) {
			for name, token := range have {
				if want[name] != token {
					r.h.violation("no ghost", name, fmt.Sprintf("%d is held since %s at least, and no client holds it (they hold %d)", token, at(from), want[name]))
				}
			}
			for name, token := range want {
				if have[name] == 0 {
					r.h.violation("answered grants survive", name, fmt.Sprintf("%d is not held", token))
				}
			}
			if waiters > 0 {
				r.h.violation("no ghost", round, fmt.Sprintf("%d wait, and no client does", waiters))
			}
			return nil
		}
		pause(ctx, 50*time.Millisecond)
	}
}

// locks are those that the server says are held.
func (r *run) locks(ctx context.Context, prefix string) (have map[string]int64, waiters int, err error) {
	have = map[string]int64{}
	for cursor := ""; ; {
		var page struct {
			Locks []struct {
				Resource string
				Waiters  int
				Holders  []struct{ Token int64 }
			}
			Next string
		}
		status := 0
		query := url.Values{"prefix": {prefix}, "limit": {"1000"}, "cursor": {cursor}}
		if err := r.observer.do(ctx, http.MethodGet, "/locks?"+query.Encode(), nil, &page, &status); err != nil || status != http.StatusOK {
			if ctx.Err() != nil {
				return nil, 0, context.Cause(ctx)
			}
			if status != 0 && status != http.StatusServiceUnavailable {
				return nil, 0, fmt.Errorf("the list of locks was answered %d: %w", status, err)
			}
			pause(ctx, 50*time.Millisecond)
			continue
		}
		for _, l := range page.Locks {
			waiters += l.Waiters
			for i, h := range l.Holders {
				name := l.Resource
				if i > 0 {
					name = fmt.Sprintf("%s (%d)", name, i)
				}
				have[name] = h.Token
			}
		}
		if cursor = page.Next; cursor == "" {
			return have, waiters, nil
		}
	}
}
