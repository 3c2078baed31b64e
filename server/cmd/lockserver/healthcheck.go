package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/lockserver/lockserver/server/internal/config"
)

// healthTimeout bounds the whole check.
const healthTimeout = 3 * time.Second

// healthcheck asks the server with these settings whether it is ready. It is for containers, which may have no other client.
func healthcheck(opts *config.Options, stdout, stderr io.Writer) int {
	if opts.Port == 0 {
		fmt.Fprintln(stderr, "lockserver healthcheck: --port (LOCKSERVER_PORT): 0 does not say where the server is; allowed: the port that it listens on")
		return exitUsage
	}
	host := opts.Bind
	if host.IsUnspecified() {
		// The server listens on all addresses: ask on this machine.
		host = netip.IPv6Loopback()
		if opts.Bind.Is4() {
			host = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
	}
	scheme := "http"
	if opts.TLSCert != "" {
		scheme = "https"
	}
	url := scheme + "://" + net.JoinHostPort(host.String(), strconv.Itoa(opts.Port)) + "/readyz"
	transport, err := healthTransport(opts)
	if err == nil {
		err = ask(transport, url)
	}
	if err != nil {
		fmt.Fprintln(stderr, "lockserver healthcheck:", err)
		return exitFailure
	}
	fmt.Fprintln(stdout, "ready")
	return exitOK
}

// healthTransport reaches a server with these settings, which is on this machine.
func healthTransport(opts *config.Options) (*http.Transport, error) {
	// Nothing secret is sent or received, and the certificate need not name localhost.
	encryption := &tls.Config{InsecureSkipVerify: true}
	if opts.TLSClientCA != "" {
		own, err := tls.LoadX509KeyPair(opts.TLSCert, opts.TLSKey) // which the server knows
		if err != nil {
			return nil, err
		}
		encryption.Certificates = []tls.Certificate{own}
	}
	return &http.Transport{DisableKeepAlives: true, TLSClientConfig: encryption}, nil // without a proxy
}

func ask(transport *http.Transport, url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), healthTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		const most = 4 << 10
		body, err := io.ReadAll(io.LimitReader(resp.Body, most))
		if err != nil {
			return fmt.Errorf("%s: %s: %w", url, resp.Status, err)
		}
		return fmt.Errorf("%s: %s: %s", url, resp.Status, body)
	}
	return nil
}
