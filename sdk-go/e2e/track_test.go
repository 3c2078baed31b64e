package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
	"github.com/stretchr/testify/require"
)

// network is a proxy between a client and a server that can be made to fail, and to lead to another server. Its port stays open
// meanwhile, as another process might take it.
type network struct {
	t     *testing.T
	proxy *toxiproxy.Proxy
	track *track
}

func newNetwork(t *testing.T, upstream string) *network {
	t.Helper()
	track := newTrack(t, upstream)
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	n := &network{t, toxiproxy.NewProxy(api, t.Name(), "127.0.0.1:0", track.listener.Addr().String()), track}
	require.NoError(t, n.proxy.Start())
	t.Cleanup(n.proxy.Stop)
	return n
}

func (n *network) addr() string { return n.proxy.Listen }

// poison adds a toxic to a direction, and returns its antidote.
func (n *network) poison(kind, stream string, attributes map[string]any) func() {
	n.t.Helper()
	name := kind + " " + stream
	text, err := json.Marshal(map[string]any{"name": name, "type": kind, "stream": stream, "attributes": attributes})
	require.NoError(n.t, err)
	_, err = n.proxy.Toxics.AddToxicJson(bytes.NewReader(text))
	require.NoError(n.t, err)
	return func() {
		if err := n.proxy.Toxics.RemoveToxic(context.Background(), name); err != nil && !errors.Is(err, toxiproxy.ErrToxicNotFound) {
			n.t.Error(err)
		}
	}
}

// poisonFor adds a toxic for so long, and tells when it is gone.
func (n *network) poisonFor(d time.Duration, kind, stream string, attributes map[string]any) (cured <-chan struct{}) {
	n.t.Helper()
	cure, gone := n.poison(kind, stream, attributes), make(chan struct{})
	time.AfterFunc(d, func() {
		defer close(gone)
		cure()
	})
	return gone
}

// leadTo makes new connections go to another server, and ends the old ones.
func (n *network) leadTo(upstream string) { n.track.leadTo(upstream) }

// track passes connections on to a server that can change.
type track struct {
	listener net.Listener

	mu    sync.Mutex
	to    string
	ends  map[net.Conn]struct{}
	ended bool
}

func newTrack(t *testing.T, to string) *track {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	tr := &track{listener: listener, to: to, ends: map[net.Conn]struct{}{}}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() { tr.carry(near) })
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		tr.mu.Lock()
		tr.ended = true
		tr.mu.Unlock()
		tr.leadTo("")
		group.Wait()
	})
	return tr
}

func (tr *track) carry(near net.Conn) {
	defer near.Close()
	tr.mu.Lock()
	to := tr.to
	tr.mu.Unlock()
	far, err := net.DialTimeout("tcp", to, soon)
	if err != nil {
		return // the server is away: so is the connection
	}
	defer far.Close()
	tr.mu.Lock()
	if tr.ended || tr.to != to {
		tr.mu.Unlock()
		return
	}
	tr.ends[near], tr.ends[far] = struct{}{}, struct{}{}
	tr.mu.Unlock()
	var group sync.WaitGroup
	for from, to := range map[net.Conn]net.Conn{near: far, far: near} {
		group.Go(func() {
			_, _ = io.Copy(to, from) // ends with either side
			_ = near.Close()
			_ = far.Close()
		})
	}
	group.Wait()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	delete(tr.ends, near)
	delete(tr.ends, far)
}

func (tr *track) leadTo(to string) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.to = to
	for end := range tr.ends {
		_ = end.Close()
	}
}
