package play

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/lockserver/lockserver/conformance/internal/cases"
	"github.com/lockserver/lockserver/conformance/internal/place"
)

// http sends a request of the runner's own straight to the server, on a connection of its own.
func (r *run) http(ctx context.Context, s *cases.Step, a *cases.HTTP) (*op, error) {
	ctx, cancel := context.WithCancel(ctx)
	req, err := r.request(ctx, a)
	if err != nil {
		cancel()
		return nil, err
	}
	return begin(cmp.Or(s.As, "http"), cancel, func() (map[string]any, error) {
		defer cancel()
		res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			return nil, err
		}
		return answer(res)
	}), nil
}

// httpUntil sends a request again and again, until its answer is as the case wants it.
func (r *run) httpUntil(ctx context.Context, s *cases.Step, a *cases.HTTP) (any, error) {
	return r.until(ctx, s, func() (any, error) {
		ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		req, err := r.request(ctx, a)
		if err != nil {
			return nil, err
		}
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		return answer(res)
	})
}

func (r *run) request(ctx context.Context, a *cases.HTTP) (*http.Request, error) {
	target := url.URL{Scheme: "http", Host: r.server.SuiteAddr(), Path: a.Path}
	if c, ok := r.server.(place.Cluster); ok && a.Leader {
		target.Host = c.LeaderAddr()
	}
	values := url.Values{}
	for k, v := range a.Query {
		if k == "resource" || k == "prefix" {
			v = r.resource(text(v))
		}
		values.Set(k, text(v))
	}
	target.RawQuery = values.Encode()
	var body io.Reader = http.NoBody
	switch b := a.Body.(type) {
	case map[string]any:
		raw, err := json.Marshal(b)
		if !a.Exact {
			raw, err = r.body(b)
		}
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(raw)
	case string:
		body = strings.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, a.Method, target.String(), body)
	if err != nil {
		return nil, err
	}
	secret := r.secret
	if a.Secret != nil {
		secret = *a.Secret
	}
	if secret != "" {
		req.Header.Set("X-LOCKSERVER-SECRET", secret)
	}
	for k, v := range a.Headers {
		req.Header.Set(k, v)
	}
	return req, nil
}

// body is a request's body, for the case's own resource.
func (r *run) body(fields map[string]any) ([]byte, error) {
	fields = maps.Clone(fields)
	if name, ok := fields["resource"].(string); ok {
		fields["resource"] = r.resource(name)
	}
	return json.Marshal(fields)
}

func answer(res *http.Response) (map[string]any, error) {
	raw, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil {
		return nil, err
	}
	headers := map[string]any{}
	for k := range res.Header {
		headers[strings.ToLower(k)] = res.Header.Get(k)
	}
	m := map[string]any{"status": float64(res.StatusCode), "headers": headers, "text": string(raw)}
	var body any
	if json.Unmarshal(raw, &body) == nil {
		m["body"] = body
	}
	return m, res.Body.Close()
}

// look asks the server about one resource: at once, or until what it says is as the case wants it.
func (r *run) look(ctx context.Context, s *cases.Step, resource string) (any, error) {
	return r.until(ctx, s, func() (any, error) {
		req, err := r.request(ctx, &cases.HTTP{Method: "GET", Path: "/lock", Query: map[string]any{"resource": resource}})
		if err != nil {
			return nil, err
		}
		return r.oneLook(req)
	})
}

func (r *run) oneLook(req *http.Request) (any, error) {
	ctx, cancel := context.WithTimeout(req.Context(), 5*time.Second)
	defer cancel()
	res, err := http.DefaultTransport.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	m, err := answer(res)
	if err != nil {
		return nil, err
	}
	body, _ := m["body"].(map[string]any)
	switch res.StatusCode {
	case http.StatusNotFound:
		return map[string]any{"free": true, "waiters": 0, "holders_total": 0, "holders": []any{}}, nil
	case http.StatusOK:
		body["free"] = len(asList(body["holders"])) == 0
		return body, nil
	}
	return nil, fmt.Errorf("GET /lock answered %d: %v", res.StatusCode, m["text"])
}
