package docker

import (
	"context"
	"errors"
	"fmt"
	"net"

	dc "github.com/ory/dockertest/v3/docker"

	"github.com/lockserver/lockserver/conformance/internal/place"
)

const etcdPort = dc.Port("2379/tcp")

// Etcd starts an etcd container.
func (p *Place) Etcd(ctx context.Context) (url string, err error) {
	ctx, cancel := context.WithTimeout(ctx, place.Ready)
	defer cancel()
	defer p.turn()()
	alias := p.alias()
	url = "http://" + net.JoinHostPort(alias, etcdPort.Port())
	c, err := p.create(ctx, "etcd", alias, &dc.Config{
		Image: EtcdImage, ExposedPorts: map[dc.Port]struct{}{etcdPort: {}}, Cmd: []string{"--data-dir=/data", "--log-level=warn", place.EtcdWithoutSync, "--listen-client-urls=http://0.0.0.0:" + etcdPort.Port(), "--advertise-client-urls=" + url},
	}, &dc.HostConfig{PortBindings: map[dc.Port][]dc.PortBinding{etcdPort: {{HostIP: "127.0.0.1"}}}})
	if errors.Is(err, dc.ErrNoSuchImage) {
		err = fmt.Errorf("image %s: %w; `make -C conformance images` builds it", EtcdImage, err)
	}
	if err != nil {
		return "", fmt.Errorf("create etcd: %w", err)
	}
	if err := c.start(ctx); err != nil {
		return "", err
	}
	_, published, err := c.published(ctx, etcdPort)
	if err != nil {
		return "", err
	}
	if err := place.AwaitEtcd(ctx, published, c.run.done); err != nil {
		return "", fmt.Errorf("%w; its standard error: %s", err, c.Stderr())
	}
	return url, nil
}
