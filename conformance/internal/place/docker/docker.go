// Package docker runs servers and drivers as containers on a network of their own.
package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ory/dockertest/v3"
	dc "github.com/ory/dockertest/v3/docker"

	"github.com/lockserver/lockserver/conformance/internal/place"
)

const (
	// ServerImage is the server under test.
	ServerImage = "lockserver:dev"
	// EtcdImage is the etcd of servers that are clusters.
	EtcdImage = "lockserver-etcd:dev"
	// atOnce is how many containers come or go at the same time. A case that begins can wait its turn; one that is being played
	// and restarts its server must not wait for all that begin.
	atOnce = 2
	// bound limits every single call to the engine.
	bound = time.Minute
	port  = dc.Port("8080/tcp")
)

// DriverImage is the image of this repository's driver of that name.
func DriverImage(name string) string { return "lockserver-driver-" + name + ":dev" }

// Place runs everything as containers that carry the run's label.
type Place struct {
	pool   *dockertest.Pool // for calls that end soon
	waits  *dockertest.Pool // for calls that last as long as a container does
	net    *dockertest.Network
	run    string
	serial atomic.Int64
	turns  chan struct{}
	hosts  map[bool]host // by whether it is IPv6
	noIPv6 string
}

// New connects to the engine, removes what killed runs left behind, and makes the run's network. The server's image must be there.
func New() (*Place, error) {
	p := &Place{run: newRun(), turns: make(chan struct{}, atOnce)}
	var err error
	if p.pool, err = connect(); err != nil {
		return nil, err
	}
	p.pool.Client.SetTimeout(bound)
	if p.waits, err = connect(); err != nil {
		return nil, err
	}
	if err := p.sweep(abandoned); err != nil {
		return nil, err
	}
	if _, err := p.pool.Client.InspectImage(ServerImage); err != nil {
		return nil, fmt.Errorf("image %s: %w; `make -C conformance images` builds it", ServerImage, err)
	}
	if err := p.makeNetwork(); err != nil {
		return nil, errors.Join(fmt.Errorf("make the run's network: %w", err), p.Close())
	}
	return p, nil
}

func connect() (*dockertest.Pool, error) {
	pool, err := dockertest.NewPool("")
	if err != nil {
		return nil, fmt.Errorf("no Docker engine: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := pool.Client.PingWithContext(ctx); err != nil {
		return nil, fmt.Errorf("no Docker engine answers: %w", err)
	}
	return pool, nil
}

func (p *Place) Name() string { return "Docker containers" }

func (p *Place) Lacks(feature string) string {
	switch feature {
	case "ipv6":
		return p.noIPv6
	case "reset":
		return "the engine's own proxy stands between the suite and a server's published port"
	}
	return ""
}

// Close removes whatever this run made and still has.
func (p *Place) Close() error {
	return p.sweep(func(run string, _ time.Time) bool { return run == p.run })
}

func (p *Place) labels() map[string]string { return map[string]string{runLabel: p.run} }

// Server starts a server container.
func (p *Place) Server(ctx context.Context, spec place.ServerSpec) (place.Server, error) {
	env := maps.Clone(spec.Env)
	if env == nil {
		env = map[string]string{}
	}
	env["LOCKSERVER_SECRET"] = spec.Secret
	env["LOCKSERVER_STORE"] = "memory"
	if spec.Durable {
		env["LOCKSERVER_STORE"] = "disk:/data"
	}
	alias := p.alias()
	if spec.Etcd != "" {
		env["LOCKSERVER_STORE"] = spec.Etcd
		env["LOCKSERVER_ADVERTISE"] = "http://" + net.JoinHostPort(alias, port.Port())
	}
	defer p.turn()()
	c, err := p.create(ctx, spec.Name, alias, &dc.Config{
		Image: ServerImage, Env: environ(env), Cmd: spec.Flags,
		Healthcheck: &dc.HealthConfig{Test: []string{"NONE"}}, // nobody but the case is to connect
	}, &dc.HostConfig{
		ReadonlyRootfs: true,
		CapDrop:        []string{"ALL"},
		PortBindings:   map[dc.Port][]dc.PortBinding{port: {{HostIP: "127.0.0.1"}}},
	})
	if err != nil {
		return nil, fmt.Errorf("create server %s: %w", spec.Name, err)
	}
	s := &server{container: c}
	if err := s.Start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%w; its standard error: %s", err, s.Stderr()), p.remove(c.id))
	}
	return s, nil
}

// Driver starts a driver container: the image given, or else this repository's of that name.
func (p *Place) Driver(ctx context.Context, spec place.DriverSpec) (place.Driver, error) {
	image := spec.Image
	if image == "" {
		image = DriverImage(spec.Name)
	}
	defer p.turn()()
	config := &dc.Config{Image: image, Env: environ(spec.Env), OpenStdin: true, StdinOnce: true}
	c, err := p.create(ctx, spec.Name, p.alias(), config, &dc.HostConfig{})
	if errors.Is(err, dc.ErrNoSuchImage) {
		err = fmt.Errorf("%w here; `docker pull` fetches a foreign one, `make -C conformance images` builds this repository's", err)
	}
	if err != nil {
		return nil, fmt.Errorf("create driver %s from image %s: %w", spec.Name, image, err)
	}
	d := &driver{container: c}
	if err := errors.Join(c.upload(ctx, spec.Files), c.start(ctx)); err != nil {
		return nil, errors.Join(fmt.Errorf("start driver %s from image %s: %w", spec.Name, image, err), p.remove(c.id))
	}
	return d, nil
}

// turn waits until a container may come or go; what it gives ends the turn.
func (p *Place) turn() (over func()) {
	p.turns <- struct{}{}
	return func() { <-p.turns }
}

// alias makes a name for a container on the run's network.
func (p *Place) alias() string { return fmt.Sprintf("host%d", p.serial.Add(1)) }

// create makes a container on the run's network, known there by that alias, that has not started yet.
func (p *Place) create(ctx context.Context, name, alias string, config *dc.Config, hostConfig *dc.HostConfig) (*container, error) {
	config.AttachStdin, config.AttachStdout, config.AttachStderr = config.OpenStdin, true, true
	config.Labels = p.labels()
	hostConfig.NetworkMode = p.net.Network.ID
	c, err := p.pool.Client.CreateContainer(dc.CreateContainerOptions{
		Name:       fmt.Sprintf("conformance-%s-%s-%s", p.run, name, alias),
		Config:     config,
		HostConfig: hostConfig,
		NetworkingConfig: &dc.NetworkingConfig{EndpointsConfig: map[string]*dc.EndpointConfig{
			p.net.Network.ID: {Aliases: []string{alias}},
		}},
		Context: ctx,
	})
	if err != nil {
		return nil, err
	}
	return &container{place: p, id: c.ID, alias: alias, input: config.OpenStdin}, nil
}

// upload puts files into the container's working directory, owned by its user.
func (c *container) upload(ctx context.Context, files map[string]string) error {
	if len(files) == 0 {
		return nil
	}
	made, err := c.place.pool.Client.InspectContainerWithContext(c.id, ctx)
	if err != nil {
		return err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		// Readable by all: a numeric owner is not to be had from the user's name.
		h := &tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name])), ModTime: time.Now()}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if _, err := w.Write([]byte(files[name])); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	dir := made.Config.WorkingDir
	if dir == "" {
		dir = "/"
	}
	return c.place.pool.Client.UploadToContainer(c.id, dc.UploadToContainerOptions{InputStream: &b, Path: dir, Context: ctx})
}

func environ(env map[string]string) []string {
	var kv []string
	for _, k := range slices.Sorted(maps.Keys(env)) {
		kv = append(kv, k+"="+env[k])
	}
	return kv
}
