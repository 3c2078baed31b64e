package etcd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// explain says which setting an error of etcd is about, and what is allowed.
func (c *Cluster) explain(err error) error {
	const settings = "--etcd-user (LOCKSERVER_ETCD_USER) and LOCKSERVER_ETCD_PASSWORD"
	switch {
	case errors.Is(err, rpctypes.ErrAuthFailed):
		return fmt.Errorf("%s: etcd does not know the user %q with this password; allowed: a user of etcd and its password: %w", settings, c.cfg.User, err)
	case errors.Is(err, rpctypes.ErrPermissionDenied) || errors.Is(err, rpctypes.ErrUserEmpty):
		who := fmt.Sprintf("the user %q", c.cfg.User)
		if c.cfg.User == "" {
			who = "a client without a password"
		}
		return fmt.Errorf("%s: etcd does not let %s read and write what begins with %q; allowed: a user with a role that grants readwrite with that prefix: %w",
			settings, who, string(c.keys)+"/", err)
	}
	return err
}

// probe asks every member over HTTP, and returns what was wrong. etcd's client itself only tells that it got no connection in time.
func (c *Cluster) probe(ctx context.Context) (wrong error) {
	ctx, cancel := context.WithTimeout(ctx, c.patience())
	defer cancel()
	transport := &http.Transport{TLSClientConfig: c.cfg.TLS, DisableKeepAlives: true}
	found := make(chan error, len(c.cfg.Endpoints))
	for _, endpoint := range c.cfg.Endpoints {
		go func() {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/health", http.NoBody)
			if err != nil {
				found <- err
				return
			}
			began := time.Now()
			resp, err := transport.RoundTrip(req)
			if errors.Is(err, io.EOF) && c.cfg.TLS == nil {
				err = fmt.Errorf("%w (if it speaks TLS, its URL has to begin with https)", err)
			}
			switch {
			case err != nil:
				found <- fmt.Errorf("%s: no answer in %v: %w", endpoint, time.Since(began).Round(time.Millisecond), err)
				return
			case resp.StatusCode != http.StatusOK:
				err = fmt.Errorf("%s: is not healthy: it answers %s", endpoint, resp.Status)
			}
			_ = resp.Body.Close()
			found <- err
		}()
	}
	for range c.cfg.Endpoints {
		wrong = errors.Join(wrong, <-found)
	}
	return wrong
}
