package app

import (
	"cmp"
	"net"
	"os"
	"strconv"

	"github.com/lockserver/lockserver/server/internal/store/etcd"
)

// join makes the server one of a cluster: it stands by until etcd elects it.
func (a *App) join() error {
	e := &a.opts.Etcd
	encryption, err := e.TLSConfig()
	if err != nil {
		return err
	}
	a.cluster = etcd.New(etcd.Config{
		Endpoints: e.Endpoints, Prefix: e.Prefix, User: e.User, Password: e.Password.Reveal(), TLS: encryption,
		Advertise: cmp.Or(e.Advertise, a.advertised()), TTL: e.ElectionTTL, Logger: a.log, Leader: a.follow, Key: a.forward.Share,
	})
	a.open = a.cluster.Open
	a.metrics.Cluster(a.service.Serving, a.terms.Load)
	return nil
}

// follow passes requests on to another server while this one does not serve.
func (a *App) follow(url string) {
	a.forward.Lead(url)
	if url != "" {
		a.begun.Do(a.ready)
	}
}

// advertised is where the other servers should find this one: at the address that it listens on, or by the name of its machine if
// that is all of them.
func (a *App) advertised() string {
	scheme, host := "http", a.opts.Bind.String()
	if a.http.TLSConfig != nil {
		scheme = "https"
	}
	if a.opts.Bind.IsUnspecified() {
		if name, err := os.Hostname(); err == nil {
			host = name
		}
	}
	port := a.opts.Port
	if tcp, ok := a.Addr().(*net.TCPAddr); ok {
		port = tcp.Port
	}
	return scheme + "://" + net.JoinHostPort(host, strconv.Itoa(port))
}
