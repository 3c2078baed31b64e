package config

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
)

// defaultPrefix is that of all keys in etcd.
const defaultPrefix = "/lockserver"

// setEtcd takes URL,URL…/PREFIX apart.
func setEtcd(o *Options, target string) bool {
	o.Etcd.Endpoints, o.Etcd.Prefix = nil, defaultPrefix
	urls := strings.Split(target, ",")
	for i, one := range urls {
		u, err := url.Parse(one)
		last := i == len(urls)-1
		if err != nil || !isURL(one) || u.Scheme != strings.SplitN(target, ":", 2)[0] || u.Path != "" && !last {
			return false
		}
		if path := strings.TrimRight(u.Path, "/"); path != "" {
			o.Etcd.Prefix = path
		}
		o.Etcd.Endpoints = append(o.Etcd.Endpoints, u.Scheme+"://"+u.Host)
	}
	return true
}

// isURL reports whether value says where a server is, and no more than that besides a path.
func isURL(value string) bool {
	u, err := url.Parse(value)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

// checkEtcd reads, before anything listens, what is needed to reach etcd.
func checkEtcd(o *Options, dir, passwordFile string) error {
	e := &o.Etcd
	at := func(file string) string {
		if filepath.IsAbs(file) {
			return file
		}
		return filepath.Join(dir, file)
	}
	name := func(what string) string { return "--etcd-" + what + " (" + variableOf("etcd-"+what) + ")" }
	if passwordFile != "" {
		if e.Password.IsSet() {
			return &refusal{"LOCKSERVER_ETCD_PASSWORD", fmt.Sprintf("is set, and so is %s: %q; allowed: one of them", name("password-file"), passwordFile)}
		}
		content, err := readAtMost(at(passwordFile), maxSecret+3)
		if err != nil {
			return &refusal{name("password-file"), fmt.Sprintf("%q cannot be read: %v; allowed: a file with the password in it", passwordFile, err)}
		}
		e.Password = NewSecret(strings.TrimSuffix(strings.TrimSuffix(content, "\n"), "\r"))
	}
	if e.Password.IsSet() != (e.User != "") {
		return &refusal{name("user"), "there must be a user and a password, or neither; allowed: both or none"}
	}
	if (e.Cert == "") != (e.Key == "") {
		return &refusal{name("cert"), fmt.Sprintf("is %q, and %s is %q; allowed: both or none", e.Cert, name("key"), e.Key)}
	}
	if !e.encrypted() && (e.CA != "" || e.Cert != "") {
		return &refusal{name("ca"), fmt.Sprintf("%q and %s %q are of no use with %s; allowed: with https", e.CA, name("cert"), e.Cert, e.Endpoints[0])}
	}
	for _, file := range []*string{&e.CA, &e.Cert, &e.Key} {
		if *file != "" {
			*file = at(*file)
		}
	}
	if _, err := e.TLSConfig(); err != nil {
		return &refusal{name("ca") + ", " + name("cert") + ", " + name("key"), fmt.Sprintf("%v; allowed: certificates and a private key, in PEM", err)}
	}
	return nil
}

func (e *Etcd) encrypted() bool { return strings.HasPrefix(e.Endpoints[0], "https:") }

// TLSConfig reads the files. It returns nil if the connections to etcd are not encrypted.
func (e *Etcd) TLSConfig() (*tls.Config, error) {
	if !e.encrypted() {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if e.CA != "" {
		const most = 1 << 20
		pem, err := readAtMost(e.CA, most)
		if err != nil {
			return nil, err
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM([]byte(pem)) {
			return nil, fmt.Errorf("no certificate in %q", e.CA)
		}
	}
	if e.Cert != "" {
		pair, err := tls.LoadX509KeyPair(e.Cert, e.Key)
		if err != nil {
			return nil, fmt.Errorf("%q with %q: %w", e.Cert, e.Key, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}
