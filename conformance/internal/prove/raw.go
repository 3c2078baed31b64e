package prove

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"
)

const (
	secret  = "prove-that-locks-are-kept"
	patient = 3 * time.Second // for an answer, beyond the wait that was asked for
)

// wire is how a raw client asks, over HTTP or in a session.
type wire interface {
	// ask makes one attempt. Without an answer, nothing is known of what became of it.
	ask(ctx context.Context, op string, fields map[string]any) (answer, error)
	close()
}

// answer is what the checks need of one.
type answer struct {
	Status  int     `json:"status"`
	Code    string  `json:"code"`
	Reason  string  `json:"reason"`
	Token   int64   `json:"token"`
	Waited  float64 `json:"waited"`
	Left    float64 `json:"expires_in"`
	Outcome string  `json:"outcome"`
	Holders []struct {
		Owner string
		Token int64
	} `json:"holders"`
}

// raw is a client that does nothing for its user but ask again. Nothing is known of its leases but what the server said.
type raw struct {
	name string
	wire wire
	h    *history
	ids  atomic.Int64
}

func (c *raw) id() string { return fmt.Sprintf("%s.%d", c.name, c.ids.Add(1)) }

// insist asks until there is an answer that says something, and how often it had to.
func (c *raw) insist(ctx context.Context, op string, fields map[string]any) (a answer, tries int, err error) {
	wait, _ := fields["wait"].(float64)
	for {
		tries++
		bounded, cancel := context.WithTimeout(ctx, patient+time.Duration(wait*float64(time.Second)))
		a, err = c.wire.ask(bounded, op, fields)
		cancel()
		switch {
		case ctx.Err() != nil:
			return a, tries, context.Cause(ctx)
		case err != nil, a.Status == http.StatusServiceUnavailable, a.Status == http.StatusInsufficientStorage, a.Status == http.StatusAccepted:
		case a.Status == http.StatusBadGateway || a.Status == http.StatusGatewayTimeout: // a stand-by without its leader
		default:
			return a, tries, nil
		}
		select {
		case <-time.After(10*time.Millisecond + rand.N(40*time.Millisecond)): //nolint:gosec // no secret
		case <-ctx.Done():
			return a, tries, context.Cause(ctx)
		}
	}
}

func (c *raw) unexpected(op *Op, a answer) {
	op.Outcome, op.Note = failed, fmt.Sprintf("%d %s %s", a.Status, a.Code, a.Reason)
	c.h.violation("answers are those of the contract", op.Resource, fmt.Sprintf("%s of %s was answered %s", op.Kind, c.name, op.Note))
}

func (c *raw) acquire(ctx context.Context, l *lease) {
	op := &l.op
	op.ID = c.id()
	c.request(ctx, op)
	l.held = op.Outcome == granted
}

// request asks for a lock by the operation's id.
func (c *raw) request(ctx context.Context, op *Op) {
	fields := map[string]any{"resource": op.Resource, "owner": c.name, "id": op.ID}
	if op.Lease > 0 {
		fields["expire"] = op.Lease
	}
	if op.Wait {
		fields["wait"] = 8.0
	}
	switch {
	case op.Mode.Limit > 0:
		fields["limit"] = op.Mode.Limit
	case op.Mode.Shared:
		fields["mode"] = "shared"
	}
	for {
		a, tries, err := c.insist(ctx, acquire, fields)
		op.Tries += tries
		switch {
		case err != nil:
			op.Outcome, op.Note = failed, err.Error()
		case a.Status == http.StatusOK:
			op.Outcome, op.Token, op.Waited, op.Left = granted, a.Token, a.Waited, a.Left
		case a.Code == "locked" && op.Wait:
			continue // its place was lost
		case a.Code == "locked":
			op.Outcome = refused
		case a.Code == "id_used" && op.Kind == again:
			op.Outcome = idUsed
		case a.Code == "id_used" && op.Tries > 1: // it was granted to an earlier attempt, and that is over
			op.Outcome, op.Note = failed, a.Code
		default:
			c.unexpected(op, a)
		}
		return
	}
}

func (c *raw) release(ctx context.Context, l *lease, op *Op) {
	a, tries, err := c.insist(ctx, release, map[string]any{"resource": op.Resource, "owner": c.name, "token": op.Token})
	op.Tries = tries
	switch {
	case err != nil:
		op.Outcome, op.Note = unsure, err.Error()
	case a.Status == http.StatusOK:
		op.Outcome, l.held = released, false
	case a.Code == "not_held" && tries == 1:
		op.Outcome, l.held, op.Note = notHeld, false, a.Reason
	case a.Code == "not_held":
		op.Outcome, l.held, op.Note = ended, false, a.Reason
	default:
		c.unexpected(op, a)
	}
}

func (c *raw) renew(ctx context.Context, l *lease, op *Op) {
	a, tries, err := c.insist(ctx, renew, map[string]any{"resource": op.Resource, "owner": c.name, "token": op.Token, "expire": op.Lease})
	op.Tries = tries
	switch {
	case err != nil:
		op.Outcome, op.Note = failed, err.Error()
	case a.Status == http.StatusOK:
		op.Outcome = renewed
	case a.Code == "not_held":
		op.Outcome, l.held, op.Note = notHeld, false, a.Reason
	default:
		c.unexpected(op, a)
	}
}

func (c *raw) show(ctx context.Context, op *Op) {
	a, tries, err := c.insist(ctx, show, map[string]any{"resource": op.Resource})
	op.Tries = tries
	switch {
	case err != nil:
		op.Outcome, op.Note = failed, err.Error()
	case a.Status == http.StatusOK:
		op.Outcome = seen
		for _, h := range a.Holders {
			op.Seen = append(op.Seen, h.Token)
		}
	case a.Status == http.StatusNotFound:
		op.Outcome = seen
	default:
		c.unexpected(op, a)
	}
}

func (c *raw) close() { c.wire.close() }

// plain asks over HTTP.
type plain struct {
	url  string
	http http.Client
}

func newPlain(addr string) *plain {
	var dialer net.Dialer
	return &plain{"http://" + addr, http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
			defer cancel()
			return dialer.DialContext(ctx, network, addr)
		},
		MaxIdleConnsPerHost: 16,
	}}}
}

func (p *plain) ask(ctx context.Context, op string, fields map[string]any) (a answer, err error) {
	method, path := http.MethodPost, "/"+op
	var body []byte
	if op == show {
		method, path = http.MethodGet, "/lock?resource="+url.QueryEscape(fields["resource"].(string))
	} else if body, err = json.Marshal(fields); err != nil {
		return a, err
	}
	return a, p.do(ctx, method, path, body, &a, &a.Status)
}

func (p *plain) do(ctx context.Context, method, path string, body []byte, into any, status *int) error {
	req, err := http.NewRequestWithContext(ctx, method, p.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("X-LOCKSERVER-SECRET", secret)
	resp, err := p.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil && resp.StatusCode < 500 {
		return errors.Join(fmt.Errorf("%d with a body that is not whole", resp.StatusCode), err)
	}
	*status = resp.StatusCode
	return nil
}

func (p *plain) close() { p.http.CloseIdleConnections() }

// request is a message of a session.
func request(seq int64, op string, fields map[string]any) ([]byte, error) {
	m := maps.Clone(fields)
	m["seq"], m["op"] = seq, op
	return json.Marshal(m)
}
