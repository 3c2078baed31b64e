package prove

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// link is a proxy between two processes, on which the faults of a network happen.
type link struct {
	mu    sync.Mutex
	proxy *toxiproxy.Proxy
	cuts  int // that are not mended
}

// newLink listens on a port below those that systems give to clients, so that it can be had again after a cut.
func newLink(name, upstream string) (*link, error) {
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	var err error
	for range 50 {
		listen := fmt.Sprintf("127.0.0.1:%d", 15_000+rand.IntN(17_000)) //nolint:gosec // no secret
		l := &link{proxy: toxiproxy.NewProxy(api, name, listen, upstream)}
		if err = l.proxy.Start(); err == nil {
			return l, nil
		}
	}
	return nil, err
}

func (l *link) addr() string { return l.proxy.Listen }

// lead makes the link go to another address; its connections end.
func (l *link) lead(upstream string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.proxy.Update(&toxiproxy.Proxy{Listen: l.proxy.Listen, Upstream: upstream, Enabled: l.cuts == 0})
}

// sever ends all connections and refuses new ones, until mend was called as often.
func (l *link) sever() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cuts++
	l.proxy.Stop()
}

func (l *link) mend() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cuts--; l.cuts > 0 {
		return nil
	}
	return l.proxy.Start()
}

// poison adds a toxic to a direction, and returns its antidote. Two lanes may do so at once: why keeps them apart.
func (l *link) poison(why, kind, stream string, attributes map[string]any) (cure func() error, err error) {
	name := why + " " + stream
	text, err := json.Marshal(map[string]any{"name": name, "type": kind, "stream": stream, "attributes": attributes})
	if err != nil {
		return nil, err
	}
	if _, err := l.proxy.Toxics.AddToxicJson(bytes.NewReader(text)); err != nil {
		return nil, err
	}
	return func() error {
		if err := l.proxy.Toxics.RemoveToxic(context.Background(), name); err != nil && !errors.Is(err, toxiproxy.ErrToxicNotFound) {
			return err
		}
		return nil
	}, nil
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.proxy.Stop()
}
