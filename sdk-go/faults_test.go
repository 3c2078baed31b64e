package lockserver_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/internal/servertest"
)

// requireStranger asks for a lock where something else than a lockserver answers.
func requireStranger(t *testing.T, s step, code lockserver.Code, text string) {
	t.Helper()
	server := newScripted(t).on("/acquire", s).on("/release", freed())
	_, err := server.client(t, quick).Acquire(context.Background(), "r")
	failure := requireCode(t, err, code)
	require.NotZero(t, failure.Status)
	require.Equal(t, server.Listener.Addr().String()+text+": is this the address of a lockserver?", failure.Message)
	require.Len(t, server.seen("/acquire"), 1)
	require.Len(t, server.seen("/release"), 1, "the try may have taken effect")
	require.Equal(t, server.seen("/acquire")[0].Body["id"], server.seen("/release")[0].Body["id"])
}

// An answer without a code, as a proxy's, means the same everywhere, and says what is likely wrong.
func TestAnswersWithoutACode(t *testing.T) {
	codes := map[int]lockserver.Code{
		400: lockserver.ErrInvalidRequest, 401: lockserver.ErrUnauthorized, 413: lockserver.ErrTooLarge, 431: lockserver.ErrTooLarge,
		500: lockserver.ErrInternal,
	}
	statuses := []int{201, 203, 204, 206, 300, 301, 302, 303, 304, 307, 308, 418, 426, 451, 499, 500, 501, 505, 511, 599}
	for status := 400; status <= 431; status++ {
		statuses = append(statuses, status)
	}
	for _, status := range statuses {
		if status == http.StatusProxyAuthRequired {
			continue
		}
		code := codes[status]
		if code == "" {
			code = lockserver.ErrConnectionFailed
		}
		requireStranger(t, answer(status, `{"token":7}`), code, fmt.Sprintf(" answered %d without a lockserver's code", status))
	}
	for _, body := range []string{
		`{"code":5,"field":"f","reason":"r"}`, `{"code":""}`, `{"code":null}`, `"conflict"`, `["locked"]`, "null", "", "<html>", "{\"code\":\"locked\xff\"}",
		`{"code":"locked"} x`, ofSize(`{"code":"locked"`, 1<<20+1), ofSize(`{"code":"locked"`, 1<<21),
	} {
		requireStranger(t, answer(409, body), lockserver.ErrConnectionFailed, " answered 409 without a lockserver's code")
	}
}

// Where a proxy stands that is not known here, it is what asks for a password.
func TestProxyThatNobodyNamed(t *testing.T) {
	server := newScripted(t).on("/acquire", answer(407, "")).on("/release", freed())
	_, err := server.client(t, quick).Acquire(context.Background(), "r")
	requireCode(t, err, lockserver.ErrConnectionFailed)
	require.ErrorContains(t, err, "answered 407 without a lockserver's code: does a proxy before it ask for a password?")
}

// A success has to be one of a lockserver.
func TestUnusableAnswers(t *testing.T) {
	for body, text := range map[string]string{
		"<html>a captive portal": "with no JSON object",
		"":                       "with no JSON object",
		"null":                   "with no JSON object",
		"7":                      "with no JSON object",
		`[{"token":7}]`:          "with no JSON object",
		`{"token":7,"expires_in":null,"waited":0} {}`: "with no JSON object",
		"{\"token\":7,\"mode\":\"\xff\"}":             "with no JSON object",
		"{}":                                          `without "token"`,
		`{"token":0}`:                                 `without "token"`,
		`{"token":"7"}`:                               `with an unusable "token"`,
		`{"token":7.5}`:                               `with an unusable "token"`,
		`{"token":7,"expires_in":"30"}`:               `with an unusable "expires_in"`,
		`{"token":7}`:                                 `without "expires_in"`,
		`{"token":7,"expires_in":3}`:                  `without "waited"`,
		`{"token":7,"expires_in":3,"waited":null}`:    `without "waited"`,
		`{"token":7,"expires_in":3,"waited":[]}`:      `with an unusable "waited"`,
		ofSize(`{"token":7,"expires_in":null,"waited":0`, 1<<20+1): "with more than 1048576 bytes",
	} {
		requireStranger(t, answer(200, body), lockserver.ErrConnectionFailed, " answered 200 "+text)
	}
	for _, body := range []string{
		`{"token":7,"expires_in":null,"waited":0,"holders":[{"owner":5}],"new":[]}`, ofSize(`{"token":7,"expires_in":null,"waited":0`, 1<<20),
		` {"token":7,"expires_in":3.5,"waited":1e-3,"holders":7}`,
	} {
		_, err := newMemory().on("/acquire", answer(200, body)).client(t, quick).Acquire(within(t, soon), "r")
		require.NoError(t, err, "what is not needed may be anything: %s", body)
	}
	requireStranger(t, answer(202, "<html>"), lockserver.ErrConnectionFailed, " answered 202 with no JSON object")
	requireStranger(t, answer(202, `{"token":7}`), lockserver.ErrConnectionFailed, ` answered 202 without "position"`)
}

// ofSize fills an object up.
func ofSize(object string, size int) string {
	object += `,"more":"`
	return object + strings.Repeat("x", size-len(object)-2) + `"}`
}

// Every operation has its own idea of what is usable.
func TestUnusableAnswersToOtherOperations(t *testing.T) {
	empty := answer(200, "{}")
	server := newMemory().on("/acquire", grant(7, "30")).on("/renew", empty).on("/release", empty).on("/locks", empty).on("/lock", empty)
	client := server.client(t, quick)
	ctx := within(t, soon)
	lock, err := client.Acquire(ctx, "r", lockserver.Expire(30*time.Second))
	require.NoError(t, err)
	tries := map[string]func() error{
		"token":   func() error { return lock.Renew(ctx, 0) },
		"outcome": func() error { _, err := lock.Release(ctx); return err },
		"locks":   func() error { _, err := client.List(ctx, lockserver.ListOptions{}); return err },
		"holders": func() error { _, err := client.Show(ctx, "r"); return err },
		"evicted": func() error { _, err := client.ForceRelease(ctx, "r", 0); return err },
	}
	for member, try := range tries {
		requireCode(t, try(), lockserver.ErrConnectionFailed)
		require.ErrorContains(t, try(), fmt.Sprintf("answered 200 without %q", member))
	}
	accepted := answer(202, `{"token":7,"outcome":"released","locks":[],"holders":[],"evicted":[]}`)
	server.on("/renew", accepted).on("/release", accepted).on("/locks", accepted).on("/lock", accepted)
	for _, try := range tries {
		require.ErrorContains(t, try(), "answered 202 without a lockserver's code", "only an acquisition is queued")
	}
	long := answer(200, `{"locks":[],"more":"`+strings.Repeat("x", 2<<20)+`"}`)
	server.on("/locks", long)
	_, err = client.List(ctx, lockserver.ListOptions{})
	require.NoError(t, err, "a list may be longer")
}

// A code that is not known counts as it is; whether it is tried again, its status says.
func TestUnknownCodes(t *testing.T) {
	server := newMemory().on("/acquire", problem(503, "of_the_future", ""), problem(502, "of_the_future", ""), problem(409, "of_the_future", ""))
	_, err := server.client(t, quick).Acquire(within(t, soon), "r")
	requireCode(t, err, lockserver.Code("of_the_future"))
	require.Len(t, server.seen("/acquire"), 3)

	server = newMemory().on("/acquire", answer(409, `{"code":"locked","detail":5,"holders":[{"owner":"them"}],"waiters":"many"}`))
	_, err = server.client(t, quick).TryAcquire(within(t, soon), "r")
	requireCode(t, err, lockserver.ErrLocked) // what is wrong with the rest takes nothing from the code
	var locked *lockserver.LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, "them", locked.Holders[0].Owner)
}

// counted is a listener that counts its connections.
type counted struct {
	net.Listener
	n atomic.Int64
}

func (c *counted) Accept() (net.Conn, error) {
	connection, err := c.Listener.Accept()
	if err == nil {
		c.n.Add(1)
	}
	return connection, err
}

// startCounted starts a server of which the connections are counted.
func startCounted(t *testing.T, config *tls.Config) (*httptest.Server, *counted) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	listener := &counted{Listener: server.Listener}
	server.Listener, server.Config.ErrorLog = listener, log.New(io.Discard, "", 0)
	if server.TLS = config; config != nil {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server, listener
}

// What no retry can mend is raised at once, also by a call without a limit.
func TestMistakesThatNoRetryCanMend(t *testing.T) {
	plain, plainConnections := startCounted(t, nil)
	secure, secureConnections := startCounted(t, &tls.Config{})
	old, oldConnections := startCounted(t, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}) //nolint:gosec // it is to be refused
	older := startOlder(t)
	pool := x509.NewCertPool()
	pool.AddCert(secure.Certificate())
	_, port, err := net.SplitHostPort(secure.Listener.Addr().String())
	require.NoError(t, err)
	for name, c := range map[string]struct {
		addr        string
		connections *counted
		text        string
	}{
		"https to a plain port":   {"https://" + plain.Listener.Addr().String(), plainConnections, "does not look like a TLS handshake"},
		"untrusted certificate":   {secure.URL, secureConnections, "certificate"},
		"another host's":          {"https://localhost:" + port, secureConnections, "not localhost"},
		"refused version":         {old.URL, oldConnections, "protocol version not supported"},
		"a version we do not use": {"https://" + older.Addr().String(), older, "unsupported protocol version"},
	} {
		options := []lockserver.Option{lockserver.WithAddr(c.addr), lockserver.WithRootCAs(pool)}
		if name == "untrusted certificate" {
			options = options[:1]
		}
		before := c.connections.n.Load()
		client := newClient(t, options...)
		_, err := client.Acquire(context.Background(), "r")
		requireCode(t, err, lockserver.ErrConnectionFailed)
		require.ErrorContains(t, err, c.text, name)
		require.EqualValues(t, 1, c.connections.n.Load()-before, "%s: one attempt, and nothing to cancel", name)
		_, err = client.List(context.Background(), lockserver.ListOptions{})
		requireCode(t, err, lockserver.ErrConnectionFailed)
	}
}

// startOlder starts a server that chooses a version of TLS that nobody offered it, as those did that know nothing newer.
func startOlder(t *testing.T) *counted {
	t.Helper()
	plain, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	listener := &counted{Listener: plain}
	t.Cleanup(func() { _ = listener.Close() })
	hello := append([]byte{2, 0, 0, 38, 3, 1}, make([]byte, 32)...)   // TLS 1.0, random
	hello = append(hello, 0, 0xc0, 0x13, 0)                           // no session, a cipher suite, no compression
	record := append([]byte{22, 3, 1, 0, byte(len(hello))}, hello...) // a handshake record
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = connection.Read(make([]byte, 1<<12))
			_, _ = connection.Write(record)
			_, _ = io.Copy(io.Discard, connection)
			_ = connection.Close()
		}
	}()
	return listener
}

// An address that cannot be one is such a mistake; a name that does not resolve may be there a moment later.
func TestBadAddressesAndUnknownNames(t *testing.T) {
	server := newScripted(t).on("/acquire", grant(7, "null"))
	try := func(first error) (int, error) {
		attempts := 0
		own := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			if attempts++; attempts == 1 {
				return nil, &net.OpError{Op: "dial", Err: first}
			}
			return http.DefaultTransport.RoundTrip(r)
		})}
		_, err := server.client(t, quick, lockserver.WithTransport(lockserver.HTTP), lockserver.WithHTTPClient(own)).Acquire(context.Background(), "r")
		return attempts, err
	}
	attempts, err := try(&net.AddrError{Err: "mismatched local address type", Addr: "::1"})
	requireCode(t, err, lockserver.ErrConnectionFailed)
	require.Equal(t, 1, attempts)
	attempts, err = try(&net.DNSError{Err: "no such host", Name: "lockserver.test", IsNotFound: true})
	require.NoError(t, err)
	require.Equal(t, 2, attempts)
}

// queuedBehind answers 202 once the wait that was asked for is over.
func queuedBehind(holders string) step {
	return func(ctx context.Context, body map[string]any) reply {
		select {
		case <-time.After(time.Duration(body["wait"].(float64) * float64(time.Second))):
			return answer(202, `{"id":"x","position":3,"place_kept":10`+holders+`}`)(ctx, body)
		case <-ctx.Done():
			return reply{}
		}
	}
}

// A time-out says what stood in the way last, and who held the lock as far as was heard.
func TestTimeoutSaysWhatStoodInTheWay(t *testing.T) {
	const them = `{"owner":"them","token":5,"held_for":12.34,"expires_in":null}`
	const me = `{"owner":"tester","token":6,"held_for":0.25,"expires_in":3}`
	for name, c := range map[string]struct {
		step    step
		text    string
		holders []string
	}{
		"held":             {queuedBehind(`,"holders":[` + them + `],"holders_total":1,"waiters":3`), "held by them for 12 s", []string{"them"}},
		"held by several":  {queuedBehind(`,"holders":[` + them + `],"holders_total":3,"waiters":3`), "held by them for 12 s and 2 others", []string{"them"}},
		"by oneself":       {queuedBehind(`,"holders":[` + me + `],"holders_total":1`), "held by tester for 0.3 s, which is this very client", []string{"tester"}},
		"by oneself, too":  {queuedBehind(`,"holders":[` + them + "," + me + `],"holders_total":2`), "held by tester for 0.3 s, which is this very client and 1 other", []string{"them", "tester"}},
		"by nobody knows":  {queuedBehind(""), "it waits at place 3", nil},
		"locked":           {problem(409, "locked", `,"holders":[`+them+`],"holders_total":1`), "held by them for 12 s", []string{"them"}},
		"draining":         {problem(503, "draining", ""), "ADDR answered 503 draining", nil},
		"a proxy's answer": {answer(502, "<html>"), "ADDR answered 502", nil},
		"silence":          {hang(), "no answer from ADDR", nil},
		"a broken answer":  {cut(), "connection closed by ADDR", nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newScripted(t).on("/acquire", c.step).on("/release", freed())
			_, err := server.client(t, quick).Acquire(within(t, 1500*time.Millisecond), "r")
			requireCode(t, err, lockserver.ErrLockTimeout)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			text := strings.ReplaceAll(c.text, "ADDR", server.Listener.Addr().String())
			require.Regexp(t, `^lockserver: lock_timeout: resource "r" was not granted within 1\.(5|49\d?) s: `, err.Error())
			require.True(t, strings.HasSuffix(err.Error(), " s: "+text), err.Error())
			var timeout *lockserver.LockTimeoutError
			require.ErrorAs(t, err, &timeout)
			var owners []string
			for _, h := range timeout.Holders {
				owners = append(owners, h.Owner)
			}
			require.Equal(t, c.holders, owners)
		})
	}
	_, err := newClient(t, lockserver.WithAddr(refusingAddr(t))).Acquire(within(t, 300*time.Millisecond), "r")
	requireCode(t, err, lockserver.ErrLockTimeout)
	require.Regexp(t, `: connection refused by 127\.0\.0\.1:\d+$`, err.Error())
}

// What became of the holders is kept where only trouble followed.
func TestTimeoutAfterTroubleStillNamesTheHolders(t *testing.T) {
	held := answer(202, `{"position":1,"holders":[{"owner":"them","token":5,"held_for":1}],"holders_total":1,"waiters":2}`)
	server := newMemory().on("/acquire", held, problem(503, "store_unavailable", "")).on("/release", freed())
	_, err := server.client(t, quick).Acquire(within(t, 300*time.Millisecond), "r")
	require.ErrorContains(t, err, "answered 503 store_unavailable")
	var timeout *lockserver.LockTimeoutError
	require.ErrorAs(t, err, &timeout)
	require.Equal(t, "them", timeout.Holders[0].Owner)
	require.Equal(t, 1, timeout.HoldersTotal)
	require.Equal(t, 2, timeout.Waiters)
}

// A call that is not repeated tells that its context ended, and that what it did is unknown.
func TestForceReleaseThatIsCancelled(t *testing.T) {
	asked := make(chan struct{})
	client := newMemory().on("/lock", func(ctx context.Context, body map[string]any) reply {
		close(asked)
		return hang()(ctx, body)
	}).client(t, quick)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-asked; cancel() }()
	_, err := client.ForceRelease(ctx, "r", 0)
	requireCode(t, err, lockserver.ErrConnectionFailed)
	require.ErrorIs(t, err, context.Canceled)
}

// A server that queues what was not to wait says who holds it, too.
func TestQueuedAlthoughItWasNotToWait(t *testing.T) {
	server := newMemory().on("/acquire", answer(202, `{"position":1,"holders":[{"owner":"them"}],"holders_total":1}`)).on("/release", freed())
	_, err := server.client(t, quick).TryAcquire(within(t, soon), "r")
	requireCode(t, err, lockserver.ErrLocked)
	var locked *lockserver.LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, "them", locked.Holders[0].Owner)
	require.Len(t, server.seen("/release"), 1)
}

// Other calls say it too.
func TestOtherTimeouts(t *testing.T) {
	server := newScripted(t).on("/acquire", grant(7, "30")).on("/renew", problem(503, "draining", "")).
		on("/locks", answer(504, "")).on("/lock", hang())
	client := server.client(t, quick)
	lock, err := client.Acquire(within(t, soon), "r", lockserver.Expire(30*time.Second))
	require.NoError(t, err)
	for text, try := range map[string]func(context.Context) error{
		`resource "r" was not renewed within`: func(ctx context.Context) error { return lock.Renew(ctx, 0) },
		`the list did not come within`:        func(ctx context.Context) error { _, err := client.List(ctx, lockserver.ListOptions{}); return err },
		`resource "r" was not shown within`:   func(ctx context.Context) error { _, err := client.Show(ctx, "r"); return err },
	} {
		err := try(within(t, 100*time.Millisecond))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Contains(t, requireCode(t, err, lockserver.ErrLockTimeout).Message, text)
		require.ErrorContains(t, err, server.Listener.Addr().String())
	}
}

// No error shows the secret, even if what answers gives back the request.
func TestAnAnswerThatEchoesTheSecret(t *testing.T) {
	const echo = "what-was-sent: " + servertest.Secret
	for _, body := range []string{
		`{"code":"invalid_request","detail":"` + echo + `","field":"` + echo + `","reason":"` + echo + `"}`,
		`{"code":"` + echo + `","title":"` + echo + `"}`, echo,
	} {
		server := newScripted(t).on("/acquire", answer(400, body)).on("/release", freed())
		_, err := server.client(t, quick).Acquire(within(t, soon), "r")
		require.Error(t, err)
		require.NotContains(t, fmt.Sprintf("%v %+v %#v", err, err, err), servertest.Secret)
	}
}
