package local

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"

	"github.com/lockserver/lockserver/conformance/internal/place"
)

// Etcd starts an etcd process.
func (p *Place) Etcd(ctx context.Context) (url string, err error) {
	if p.EtcdBinary == "" {
		return "", errors.New("no binary of etcd is given")
	}
	ctx, cancel := context.WithTimeout(ctx, place.Ready)
	defer cancel()
	for range 5 { // another process may take a port first
		if url, err = p.startEtcd(ctx); err == nil {
			return url, nil
		}
	}
	return "", err
}

func (p *Place) startEtcd(ctx context.Context) (url string, err error) {
	dir, err := os.MkdirTemp(p.dir, "etcd-")
	if err != nil {
		return "", err
	}
	clients := FreeAddr()
	url, peer := "http://"+clients, "http://"+FreeAddr()
	e, stdout, err := start(dir, nil, []string{
		p.EtcdBinary, "--name=e", "--data-dir=data", "--log-level=warn", place.EtcdWithoutSync, "--listen-client-urls=" + url, "--advertise-client-urls=" + url,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=e=" + peer,
	}, false)
	if err != nil {
		return "", err
	}
	go drain(stdout)
	if err := place.AwaitEtcd(ctx, clients, e.done); err != nil {
		return "", errors.Join(fmt.Errorf("%w; its standard error: %s", err, e.Stderr()), e.Close())
	}
	p.etcd = e
	return url, nil
}

// FreeAddr is an address with a port that nobody listens on, below those that systems give to clients.
func FreeAddr() string {
	for {
		address := fmt.Sprintf("127.0.0.1:%d", 15_000+rand.IntN(17_000)) //nolint:gosec // no secret
		if l, err := net.Listen("tcp", address); err == nil {
			_ = l.Close()
			return address
		}
	}
}
