//go:build docker

// Package docker_test checks the server's image and the compose files. It needs a Docker engine and the images that
// `make -C conformance images` builds.
package docker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ory/dockertest/v3"
	dc "github.com/ory/dockertest/v3/docker"
	"github.com/stretchr/testify/require"
)

const (
	image  = "lockserver"
	tag    = "dev"
	secret = "a-secret-for-one-test"
	port   = "8080/tcp"
)

func engine(t *testing.T) *dockertest.Pool {
	t.Helper()
	pool, err := dockertest.NewPool("")
	require.NoError(t, err)
	require.NoError(t, pool.Client.Ping(), "no Docker engine answers")
	pool.Client.SetTimeout(time.Minute)
	pool.MaxWait = time.Minute
	return pool
}

// hardened is how the README tells people to run it.
func hardened(h *dc.HostConfig) {
	h.ReadonlyRootfs = true
	h.CapDrop = []string{"ALL"}
	h.SecurityOpt = []string{"no-new-privileges"}
	h.PortBindings = map[dc.Port][]dc.PortBinding{port: {{HostIP: "127.0.0.1"}}}
	h.PublishAllPorts = false
}

// start runs the image and returns at once; the container goes with the test.
func start(t *testing.T, pool *dockertest.Pool, o dockertest.RunOptions) *dockertest.Resource {
	t.Helper()
	o.Repository, o.Tag = image, tag
	r, err := pool.RunWithOptions(&o, hardened)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pool.Purge(r)) })
	return r
}

func serve(t *testing.T, pool *dockertest.Pool) (*dockertest.Resource, string) {
	t.Helper()
	r := start(t, pool, dockertest.RunOptions{Env: []string{"LOCKSERVER_SECRET=" + secret}})
	url := "http://" + r.GetHostPort(port)
	require.NoError(t, pool.Retry(func() error {
		status, _, err := get(url + "/readyz")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("status %d", status)
		}
		return err
	}))
	return r, url
}

func get(url string) (int, http.Header, error) {
	client := &http.Client{Timeout: 5 * time.Second}
	a, err := client.Get(url)
	if err != nil {
		return 0, nil, err
	}
	defer a.Body.Close()
	_, err = io.Copy(io.Discard, a.Body)
	return a.StatusCode, a.Header, err
}

// post sends a request with the secret and gives the answer's status and fields.
func post(ctx context.Context, url, secret, body string) (int, map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	r.Header.Set("X-LOCKSERVER-SECRET", secret)
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer a.Body.Close()
	var fields map[string]any
	if err := json.NewDecoder(a.Body).Decode(&fields); err != nil {
		return 0, nil, err
	}
	return a.StatusCode, fields, nil
}

func TestImage(t *testing.T) {
	pool := engine(t)
	i, err := pool.Client.InspectImage(image + ":" + tag)
	require.NoError(t, err)
	require.Less(t, i.Size, int64(45_000_000))
	require.Equal(t, "65532:65532", i.Config.User)
	require.Contains(t, i.Config.Volumes, "/data")
	require.Subset(t, i.Config.Env, []string{"LOCKSERVER_BIND_IP=0.0.0.0", "LOCKSERVER_STORE=disk:/data"})
	require.Equal(t, []string{"CMD", "lockserver", "healthcheck"}, i.Config.Healthcheck.Test)
	for _, label := range []string{"title", "description", "source", "licenses", "version", "revision", "created"} {
		require.NotEmpty(t, i.Config.Labels["org.opencontainers.image."+label], label)
	}
	require.Equal(t, "MIT", i.Config.Labels["org.opencontainers.image.licenses"])

	_, url := serve(t, pool)
	_, header, err := get(url + "/healthz")
	require.NoError(t, err)
	require.Equal(t, "lockserver/"+i.Config.Labels["org.opencontainers.image.version"], header.Get("Server"))
}

// The container is started read-only and without capabilities by serve.
func TestImageServesAndReportsItsHealth(t *testing.T) {
	pool := engine(t)
	r, url := serve(t, pool)
	status, lock, err := post(t.Context(), url+"/acquire", secret, `{"resource": "a", "owner": "me", "expire": 60}`)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status, lock)

	code, err := r.Exec([]string{"lockserver", "healthcheck"}, dockertest.ExecOptions{})
	require.NoError(t, err)
	require.Zero(t, code)

	var out, errors bytes.Buffer
	code, err = r.Exec([]string{"lockctl", "ls"}, dockertest.ExecOptions{StdOut: &out, StdErr: &errors})
	require.NoError(t, err)
	require.Zero(t, code, errors.String())
	require.Contains(t, out.String(), "me", "lockctl asks the server beside it")

	require.NoError(t, pool.Retry(func() error {
		c, err := pool.Client.InspectContainer(r.Container.ID)
		if err == nil && c.State.Health.Status != "healthy" {
			err = fmt.Errorf("the engine says %q", c.State.Health.Status)
		}
		return err
	}))
}

func TestImageSaysThatItNeedsASecret(t *testing.T) {
	pool := engine(t)
	r := start(t, pool, dockertest.RunOptions{})
	code, err := pool.Client.WaitContainerWithContext(r.Container.ID, within(t, time.Minute))
	require.NoError(t, err)
	require.NotZero(t, code)
	require.Contains(t, logs(t, pool, r.Container.ID), "LOCKSERVER_SECRET")
}

func TestImageDrainsOnSIGTERM(t *testing.T) {
	pool := engine(t)
	r, url := serve(t, pool)
	status, _, err := post(t.Context(), url+"/acquire", secret, `{"resource": "a", "owner": "holder"}`)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)

	type answer struct {
		status int
		fields map[string]any
		err    error
	}
	waiter := make(chan answer, 1)
	go func() {
		var a answer
		a.status, a.fields, a.err = post(t.Context(), url+"/acquire", secret, `{"resource": "a", "owner": "waiter", "wait": 60}`)
		waiter <- a
	}()
	require.NoError(t, pool.Retry(func() error {
		_, held, err := post(t.Context(), url+"/acquire", secret, `{"resource": "a", "owner": "looker"}`)
		if err == nil && held["waiters"] != 1.0 {
			err = fmt.Errorf("it does not wait yet: %v", held)
		}
		return err
	}))
	require.NoError(t, pool.Client.KillContainer(dc.KillContainerOptions{ID: r.Container.ID, Signal: dc.SIGTERM}))

	a := <-waiter
	require.NoError(t, a.err)
	require.Equal(t, http.StatusServiceUnavailable, a.status)
	require.Equal(t, "draining", a.fields["code"])
	code, err := pool.Client.WaitContainerWithContext(r.Container.ID, within(t, time.Minute))
	require.NoError(t, err)
	require.Zero(t, code)
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func logs(t *testing.T, pool *dockertest.Pool, id string) string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, pool.Client.Logs(dc.LogsOptions{
		Context: within(t, time.Minute), Container: id, OutputStream: &b, ErrorStream: &b, Stdout: true, Stderr: true,
	}))
	return b.String()
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	require.NoError(t, err)
	return string(b)
}
