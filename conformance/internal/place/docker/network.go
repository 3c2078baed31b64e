package docker

import (
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	dc "github.com/ory/dockertest/v3/docker"
)

// host is this machine as containers see it.
type host struct {
	listen, reach string
}

// ProxyHost tells where the suite listens for containers, and by which name they reach it.
func (p *Place) ProxyHost(ipv6 bool) (listen, reach string) {
	h := p.hosts[ipv6]
	if ipv6 {
		awaitAddress(h.listen)
	}
	return h.listen, h.reach
}

// makeNetwork makes the run's network, with IPv6 if the engine can.
func (p *Place) makeNetwork() error {
	name := "conformance-" + p.run
	plain := func(o *dc.CreateNetworkOptions) { o.Labels = p.labels() }
	both := func(o *dc.CreateNetworkOptions) {
		o.EnableIPv6 = true
		// A random private prefix (RFC 4193), so that runs and other networks do not meet.
		subnet := fmt.Sprintf("fd%02x:%x:%x:1::/64", rand.N(256), rand.N(1<<16), rand.N(1<<16))
		o.IPAM = &dc.IPAMOptions{Config: []dc.IPAMConfig{{Subnet: subnet}}}
	}
	var err error
	if p.net, err = p.pool.CreateNetwork(name, plain, both); err != nil {
		p.noIPv6 = "the engine makes no network with IPv6: " + err.Error()
		if p.net, err = p.pool.CreateNetwork(name, plain); err != nil {
			return err
		}
	}
	// What creating gives back is less than what there is to know.
	if p.net.Network, err = p.pool.Client.NetworkInfo(p.net.Network.ID); err != nil {
		return err
	}
	return p.findHosts()
}

// findHosts finds this machine's own addresses on the network. An engine in a virtual machine (Docker Desktop) has them there
// and not here; it has a name for this machine's loopback address instead.
func (p *Place) findHosts() error {
	p.hosts = map[bool]host{false: {listen: "127.0.0.1", reach: "host.docker.internal"}}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	for _, c := range p.net.Network.IPAM.Config {
		_, subnet, err := net.ParseCIDR(c.Subnet)
		if err != nil {
			return fmt.Errorf("the network's subnet %q: %w", c.Subnet, err)
		}
		for _, a := range addrs {
			if own, ok := a.(*net.IPNet); ok && subnet.Contains(own.IP) {
				p.hosts[own.IP.To4() == nil] = host{listen: own.IP.String(), reach: own.IP.String()}
			}
		}
	}
	if _, ok := p.hosts[true]; !ok && p.noIPv6 == "" {
		p.noIPv6 = "this machine has no IPv6 address on the engine's network"
	}
	return nil
}

// awaitAddress waits until an IPv6 address can be listened on: the system looks for others that have it once the network's first
// container is there, and lends it to nobody until then. Should that fail, whoever listens is told why.
func awaitAddress(ip string) {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if l, err := net.Listen("tcp", net.JoinHostPort(ip, "0")); err == nil {
			_ = l.Close()
			return
		}
	}
}
