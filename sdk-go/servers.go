package lockserver

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
)

// servers are those of a cluster, any of which answers. One of them is asked, the first to begin with, until it fails, and then the next.
// Here, and nowhere else, is chosen which.
type servers struct {
	all []*httpTransport
	now atomic.Int32
}

func newServers(s *settings, addresses []*url.URL, proxy *url.URL) *servers {
	all := &servers{}
	for _, base := range addresses {
		all.all = append(all.all, newHTTPTransport(s, base, proxy))
	}
	return all
}

func (s *servers) current() *httpTransport { return s.all[s.now.Load()] }

func (s *servers) index(one *httpTransport) int32 { return int32(slices.Index(s.all, one)) }

// after is the one whose turn it is when the given one has failed.
func (s *servers) after(one *httpTransport) *httpTransport {
	return s.all[(int(s.index(one))+1)%len(s.all)]
}

// stay makes one that answered the one that is asked.
func (s *servers) stay(one *httpTransport) { s.now.Store(s.index(one)) }

// judge looks at what became of an attempt: a server that failed is left, if it has not been yet, and the outcome says that there is another.
func (s *servers) judge(ctx context.Context, one *httpTransport, o *outcome) (failed bool) {
	if len(s.all) == 1 || !o.failed(ctx) {
		return false
	}
	o.elsewhere = true
	s.now.CompareAndSwap(s.index(one), s.index(s.after(one)))
	return true
}

// failed tells whether another server may do better than the one that was asked. That a caller gave up is not the fault of a server that
// has the request.
func (o *outcome) failed(ctx context.Context) bool {
	if o.answer.status != 0 {
		switch o.answer.status {
		case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	return !o.permanent && (ctx.Err() == nil || o.unsent && errors.Is(ctx.Err(), context.DeadlineExceeded))
}

func (s *servers) send(ctx context.Context, a attempt) outcome {
	one := s.current()
	o := one.send(ctx, a)
	s.judge(ctx, one, &o)
	return o
}

func (s *servers) start(attempt) begun { return nil }

func (s *servers) addresses() int { return len(s.all) }

func (s *servers) session() any { return nil }

func (s *servers) close() {
	for _, one := range s.all {
		one.close()
	}
}
