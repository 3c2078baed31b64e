package lockserver

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/joho/godotenv"

	internal "github.com/lockserver/lockserver/sdk-go/internal/settings"
)

const (
	envAddr   = "LOCKSERVER_ADDR"
	envOwner  = "LOCKSERVER_OWNER"
	envSecret = "LOCKSERVER_SECRET"

	envTransport = "LOCKSERVER_TRANSPORT"

	defaultAddr = "127.0.0.1:8080"
	defaultPort = "8080"
)

// settings is what New was told, before the environment is asked.
type settings = internal.Settings

// resolve fills in what New was not told: environment first, then .env. Empty counts as absent.
func resolve(s *settings) error {
	wanted := map[string]*string{envAddr: &s.Addr, envOwner: &s.Owner, envSecret: &s.Secret}
	for name, value := range wanted {
		if *value == "" {
			*value = os.Getenv(name)
		}
		if *value != "" {
			delete(wanted, name)
		}
	}
	optional := map[string]*string{envTransport: &s.Transport} // .env is not read for their sake
	if s.ClientCertificate == nil && s.CertFile == "" && s.KeyFile == "" && s.HTTPClient == nil {
		optional[envClientCert], optional[envClientKey] = &s.CertFile, &s.KeyFile
	}
	for name, value := range optional {
		*value = cmp.Or(*value, os.Getenv(name))
	}
	if len(wanted) > 0 && !s.NoDotEnv {
		file, err := readDotEnv()
		if err != nil {
			return err
		}
		for name, value := range wanted {
			*value = file[name]
		}
		for name, value := range optional {
			*value = cmp.Or(*value, file[name])
		}
	}
	if s.Addr == "" {
		s.Addr = defaultAddr
	}
	if s.Owner == "" {
		s.Owner = defaultOwner()
	}
	if s.Transport == "" {
		s.Transport = string(Auto)
	}
	if s.Clock == nil {
		s.Clock = newSystemClock()
	}
	fillIn(&s.Bounds)
	if s.Logger == nil {
		s.Logger = slog.New(slog.DiscardHandler)
	}
	if err := check(s); err != nil {
		return err
	}
	files, err := newCertificateFiles(s.CertFile, s.KeyFile)
	if files != nil {
		s.ClientCertificate = files.get
	}
	return err
}

// fillIn sets what tests left alone.
func fillIn(b *internal.Bounds) {
	for field, figure := range map[*time.Duration]time.Duration{
		&b.Connect: figureConnect, &b.Hop: figureHop, &b.Answer: figureAnswer, &b.Cleanup: figureCleanup,
		&b.Silence: figureSilence, &b.SilenceQueued: figureSilenceQueued, &b.BackoffFirst: figureBackoffFirst, &b.BackoffMost: figureBackoffMost,
		&b.Ping: figureSessionPing, &b.SessionAgain: figureSessionAgain,
		&b.Grace: time.Second, &b.Tick: time.Second,
	} {
		if *field <= 0 {
			*field = figure
		}
	}
}

func check(s *settings) error {
	if s.Secret == "" {
		return misconfigured(envSecret, "no secret: set "+envSecret+" in the environment or in .env, or pass WithSecret")
	}
	for i := range len(s.Secret) {
		if c := s.Secret[i]; c < 0x20 || c > 0x7e {
			return misconfigured(envSecret, fmt.Sprintf("the secret's byte %d is not printable ASCII", i+1))
		}
	}
	if strings.TrimSpace(s.Secret) != s.Secret {
		return misconfigured(envSecret, "the secret has a space at one of its ends, which a header loses on its way")
	}
	if len(s.Owner) > 256 || !utf8.ValidString(s.Owner) || strings.ContainsFunc(s.Owner, unicode.IsControl) {
		return misconfigured(envOwner, fmt.Sprintf("the owner %q must be UTF-8 of 1 to 256 bytes without control characters", s.Owner))
	}
	switch Transport(s.Transport) {
	case HTTP, Session, Auto:
	default:
		return misconfigured(envTransport, fmt.Sprintf("the transport %q is unknown (allowed: http, session, auto)", s.Transport))
	}
	if s.HTTPClient != nil && s.RootCAs != nil {
		return misconfigured("WithRootCAs", "certificate authorities belong into the HTTP client's own Transport if one is given")
	}
	if s.HTTPClient != nil && (s.ClientCertificate != nil || s.CertFile != "" || s.KeyFile != "") {
		return misconfigured("WithClientCertificate", "a client's certificate belongs into the HTTP client's own Transport if one is given")
	}
	if s.HTTPClient != nil && s.Proxy != "" {
		return misconfigured("WithProxy", "a proxy belongs into the HTTP client's own Transport if one is given")
	}
	return nil
}

// readDotEnv returns what .env in the working directory holds. Nothing in it is expanded: a `$` stands for itself. The parser's error is
// not passed on: it quotes the file, and with it perhaps the secret.
func readDotEnv() (map[string]string, error) {
	content, err := os.ReadFile(".env")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case err != nil:
		return nil, &Error{Code: ErrConfigInvalid, Field: ".env", Message: fmt.Sprintf("cannot read .env (WithoutDotEnv turns it off): %v", err), cause: err}
	}
	// godotenv expands variables. A sign that no text file has stands in for `$` while it reads, so that it finds none.
	const dollar = "\x00"
	content = bytes.TrimPrefix(content, []byte("\ufeff"))
	var values map[string]string
	if !bytes.Contains(content, []byte(dollar)) {
		values, err = godotenv.UnmarshalBytes(bytes.ReplaceAll(content, []byte("$"), []byte(dollar)))
	}
	if values == nil || err != nil {
		return nil, misconfigured(".env", ".env in the working directory is not made of NAME=value lines (WithoutDotEnv turns it off)")
	}
	for name, value := range values {
		values[name] = strings.ReplaceAll(value, dollar, "$")
	}
	return values, nil
}

func defaultOwner() string {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "unknown-host"
	}
	return fmt.Sprintf("%.200s-%d-%s", strings.ToValidUTF8(host, ""), os.Getpid(), strings.ToLower(rand.Text()[:8]))
}

// What addresses are made of. It is less than a URL may have, so that all languages' SDKs take the same ones.
const (
	schemeSyntax = `(?i:(https?))://`
	hostSyntax   = `([\w-]{1,63}(?:\.[\w-]{1,63})*\.?|\[[\dA-Fa-f:.]+\])(?::(\d{1,5}))?`
)

var (
	addrSyntax  = regexp.MustCompile(`^(?:` + schemeSyntax + `)?` + hostSyntax + `(/(?:[\w.~!$&'()*+;=:@/-]|%[\dA-Fa-f]{2})*)?$`)
	proxySyntax = regexp.MustCompile(`^` + schemeSyntax + `(?:(?:[\w.~!$&'()*+,;=:-]|%[\dA-Fa-f]{2})*@)?` + hostSyntax + `/?$`)
	// A host that ends like this is an IPv4 address or nothing.
	numberSyntax   = regexp.MustCompile(`(?i)(?:^|\.)(?:\d+|0x[\da-f]*)\.?$`)
	passwordSyntax = regexp.MustCompile(`(?s)^(.*?//)?.*@`)
)

// parseAddrs returns the URLs under which the paths of the servers lie whose addresses have commas between them.
func parseAddrs(list string) ([]*url.URL, error) {
	entries := strings.Split(list, ",")
	all := make([]*url.URL, len(entries))
	for i, addr := range entries {
		u, problem := parseAddr(addr)
		if problem != "" {
			shown := addr
			if strings.Contains(list, "@") { // a URL may have a password in it, perhaps with commas, which must not get into a message
				shown = passwordSyntax.ReplaceAllString(list, "${1}***@")
			}
			which := ""
			if len(entries) > 1 {
				which = fmt.Sprintf(" (%d of %d)", i+1, len(entries))
			}
			return nil, misconfigured(envAddr, fmt.Sprintf("the address %q%s %s (allowed: host, host:port, [v6]:port, or an http:// or https:// URL; "+
				"of several, with commas and no spaces between them)", shown, which, problem))
		}
		all[i] = u
	}
	return all, nil
}

// joined is their reverse.
func joined(all []*url.URL) string {
	texts := make([]string, len(all))
	for i, u := range all {
		texts[i] = u.String()
	}
	return strings.Join(texts, ",")
}

// parseAddr returns the URL of one, or what is wrong with it.
func parseAddr(addr string) (u *url.URL, problem string) {
	parts := addrSyntax.FindStringSubmatch(addr)
	if parts == nil {
		return nil, "is not an address"
	}
	scheme, host, port, path := parts[1], parts[2], parts[3], strings.TrimRight(parts[4], "/")
	if scheme == "" && parts[4] != "" {
		return nil, "has a path but no http:// or https://"
	}
	at, ok := hostPort(host, port, defaultPort)
	if !ok {
		return nil, "has a host or port that cannot be"
	}
	u, err := url.Parse(cmp.Or(scheme, "http") + "://" + at + path)
	if err != nil {
		return nil, "is no URL: " + err.Error()
	}
	return u, ""
}

// hostPort joins what hostSyntax found, and returns whether there can be such a host and port.
func hostPort(host, port, without string) (string, bool) {
	port = cmp.Or(port, without)
	if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
		return "", false
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	needsIP := host[0] == '[' || numberSyntax.MatchString(host)
	return host + ":" + port, !needsIP || err == nil && ip.Is6() == (host[0] == '[')
}

// parseProxy returns the URL of the proxy, or nil if there is none. Its errors do not quote it: it may hold a password.
func parseProxy(proxy string) (*url.URL, error) {
	if proxy == "" {
		return nil, nil
	}
	if parts := proxySyntax.FindStringSubmatch(proxy); parts != nil {
		without := map[bool]string{false: "80", true: "443"}[strings.EqualFold(parts[1], "https")]
		host, ok := hostPort(parts[2], parts[3], without)
		u, err := url.Parse(proxy)
		if ok && err == nil {
			if password, _ := u.User.Password(); utf8.ValidString(u.User.Username() + password) {
				return &url.URL{Scheme: u.Scheme, User: u.User, Host: host}, nil
			}
		}
	}
	return nil, misconfigured("WithProxy", "the proxy is not an http:// or https:// URL of a host, a port and perhaps user:password@")
}

func misconfigured(setting, message string) *Error {
	return &Error{Code: ErrConfigInvalid, Field: setting, Message: message}
}
