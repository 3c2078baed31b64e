package lockserver

import (
	"context"
	"encoding/json"
	"net/http"
	"time"
)

// Memory is a transport without a network, which answers as Serve says: with a status of the contract and a body, with status 0 where
// the request arrived and the answer was lost, and with Unsent where the request did not arrive.
type Memory struct {
	Serve  func(ctx context.Context, path string, request map[string]any, again bool) (status int, body string, retryAfter time.Duration)
	Begins bool // an attempt can be begun without waiting for its outcome
	hop    time.Duration
}

// Unsent stands in for a status.
const Unsent = -1

func (m *Memory) send(ctx context.Context, a attempt) outcome {
	a.hold(m.hop)
	return m.ask(ctx, a).await(ctx)
}

func (m *Memory) start(a attempt) begun {
	if !m.Begins {
		return nil
	}
	return m.ask(context.Background(), a)
}

// remembered is a request to a Memory.
type remembered struct {
	bounded  context.Context
	cancel   context.CancelFunc
	answered chan answer
}

func (m *Memory) ask(ctx context.Context, a attempt) *remembered {
	encoded, err := json.Marshal(a.request)
	if err != nil {
		panic(err)
	}
	var request map[string]any
	if err := json.Unmarshal(encoded, &request); err != nil {
		panic(err)
	}
	r := &remembered{answered: make(chan answer, 1)}
	r.bounded, r.cancel = a.bounded(ctx, min(a.wait+a.bound, a.limit))
	go func() {
		status, body, after := m.Serve(r.bounded, a.op.path, request, a.again)
		r.answered <- answer{status, []byte(body), after, "memory"}
	}()
	return r
}

func (r *remembered) succeeds(ctx context.Context) bool {
	select {
	case <-r.bounded.Done():
	case <-ctx.Done():
	case got := <-r.answered:
		r.answered <- got // for await
		return got.status == http.StatusOK
	}
	return false
}

func (r *remembered) await(ctx context.Context) outcome {
	defer r.cancel()
	lost := outcome{reason: "no answer from memory"}
	select {
	case <-r.bounded.Done():
	case <-ctx.Done():
	case got := <-r.answered:
		if lost.unsent = got.status == Unsent; got.status > 0 {
			return outcome{answer: got}
		}
	}
	return lost
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
