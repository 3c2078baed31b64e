package lockserver

import (
	"context"
	"encoding/json"
	"time"
)

// Memory is a transport without a network, which answers as Serve says: with a status of the contract and a body, with status 0 where
// the request arrived and the answer was lost, and with Unsent where the request did not arrive.
type Memory struct {
	Serve func(ctx context.Context, path string, request map[string]any, again bool) (status int, body string, retryAfter time.Duration)
	hop   time.Duration
}

// Unsent stands in for a status.
const Unsent = -1

func (m *Memory) send(ctx context.Context, a attempt) outcome {
	a.hold(m.hop)
	bounded, cancel := a.bounded(ctx, min(a.wait+a.bound, a.limit))
	defer cancel()
	encoded, err := json.Marshal(a.request)
	if err != nil {
		panic(err)
	}
	var request map[string]any
	if err := json.Unmarshal(encoded, &request); err != nil {
		panic(err)
	}
	answered := make(chan answer, 1)
	go func() {
		status, body, after := m.Serve(bounded, a.op.path, request, a.again)
		answered <- answer{status, []byte(body), after, "memory"}
	}()
	lost := outcome{reason: "no answer from memory"}
	select {
	case <-bounded.Done():
		return lost
	case got := <-answered:
		if lost.unsent = got.status == Unsent; got.status <= 0 {
			return lost
		}
		return outcome{answer: got}
	}
}

func (m *Memory) addresses() int { return 1 }

func (m *Memory) session() any { return nil }

func (m *Memory) close() {}

// NewOver makes a client over a transport without a network.
func NewOver(m *Memory, opts ...Option) (*Client, error) {
	s := settings{Secret: "over-memory-0123", NoDotEnv: true}
	for _, opt := range opts {
		opt(&s)
	}
	if err := resolve(&s); err != nil {
		return nil, err
	}
	m.hop = s.Bounds.Hop
	return newClient(&s, "memory", m), nil
}
