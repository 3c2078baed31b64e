package etcd

import (
	"context"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// near is a connection to the member that leads etcd. Any other member passes a transaction on to that one, which takes a hop each way.
// So the first attempt of a transaction goes there, and those that follow to whichever member answers. It is only a shortcut: what a
// transaction does is the same wherever it is sent.
type near struct {
	*Cluster
	mu      sync.Mutex
	client  *clientv3.Client // nil: none is known
	term    uint64           // of etcd's leadership, in which it was looked for last
	looking bool
	closed  bool
	looks   sync.WaitGroup
}

// pick returns the connection for an attempt.
func (n *near) pick(first bool) *clientv3.Client {
	n.mu.Lock()
	defer n.mu.Unlock()
	if first && n.client != nil {
		return n.client
	}
	return n.Cluster.client
}

// drop forgets the connection, if it is this one, as no answer came over it. The member that leads is looked for after the next answer.
func (n *near) drop(c *clientv3.Client) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if c == n.client {
		n.replace(nil)
		n.term = 0
	}
}

func (n *near) replace(c *clientv3.Client) {
	if n.client != nil {
		_ = n.client.Close()
	}
	n.client = c
}

// heard notes the term of etcd's leadership in which an answer was given. If it is a new one, the member that leads is looked for.
func (n *near) heard(term uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if term == n.term || n.looking || n.closed || len(n.cfg.Endpoints) < 2 {
		return
	}
	n.term, n.looking = term, true
	n.looks.Go(n.look)
}

func (n *near) look() {
	ctx, cancel := context.WithTimeout(context.Background(), n.patience())
	defer cancel()
	var c *clientv3.Client
	if endpoint := n.find(ctx); endpoint != "" {
		c, _ = n.dial(endpoint) // without it, every member is asked in turn
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.looking = false
	n.replace(c)
}

// find asks every endpoint whether it leads, and returns that which does, or "".
func (n *near) find(ctx context.Context) string {
	leads := make(chan string, len(n.cfg.Endpoints))
	for _, endpoint := range n.cfg.Endpoints {
		go func() {
			status, err := n.Cluster.client.Status(ctx, endpoint)
			if err != nil || status.Leader != status.Header.MemberId {
				endpoint = ""
			}
			leads <- endpoint
		}()
	}
	for range n.cfg.Endpoints {
		if endpoint := <-leads; endpoint != "" {
			return endpoint
		}
	}
	return ""
}

func (n *near) close() {
	n.mu.Lock()
	n.closed = true
	n.mu.Unlock()
	n.looks.Wait()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.replace(nil)
}
