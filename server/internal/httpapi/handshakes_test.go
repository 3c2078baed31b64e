package httpapi

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// shaking is a listener whose clients must show the certificate that they get if it is to be so. It answers whatever is sent with "ok".
type shaking struct {
	*Handshakes
	client *tls.Config
	log    *syncedBuilder
}

type syncedBuilder struct {
	sync.Mutex
	strings.Builder
}

func (b *syncedBuilder) Write(p []byte) (int, error) {
	b.Lock()
	defer b.Unlock()
	return b.Builder.Write(p)
}

func (b *syncedBuilder) lines() int {
	b.Lock()
	defer b.Unlock()
	return strings.Count(b.String(), "\n")
}

func shake(t *testing.T, most int, timeout time.Duration, auth tls.ClientAuthType) *shaking {
	t.Helper()
	donor := httptest.NewUnstartedServer(nil)
	donor.StartTLS()
	t.Cleanup(donor.Close)
	pool := x509.NewCertPool()
	pool.AddCert(donor.Certificate())
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &shaking{client: &tls.Config{RootCAs: pool, ServerName: "example.com", Certificates: nil}, log: &syncedBuilder{}}
	s.Handshakes = NewHandshakes(inner, HandshakeConfig{
		TLS: &tls.Config{Certificates: donor.TLS.Certificates, ClientAuth: auth}, Most: most, Timeout: timeout, Logger: slog.New(slog.NewTextHandler(s.log, nil)),
	})
	var served sync.WaitGroup
	served.Go(func() {
		for {
			c, err := s.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				_, _ = io.ReadFull(c, make([]byte, 1))
				_, _ = io.WriteString(c, "ok")
			}()
		}
	})
	t.Cleanup(func() {
		_ = s.Close()
		served.Wait()
	})
	return s
}

func (s *shaking) dial(t *testing.T) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// readTLS makes a handshake, sends something right behind it, and reads to the end. It returns the error.
func readTLS(c net.Conn, config *tls.Config) error {
	secure := tls.Client(c, config)
	if _, err := io.WriteString(secure, "a request"); err != nil {
		return err
	}
	_, err := io.ReadAll(secure)
	return err
}

// begin begins a handshake and leaves it, so that it waits for its client.
func (s *shaking) begin(t *testing.T, sent string) net.Conn {
	t.Helper()
	waiting := func() int {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.idle.Len()
	}
	before := waiting()
	c := s.dial(t)
	_, err := io.WriteString(c, sent)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return waiting() > before }, 10*time.Second, time.Millisecond)
	return c
}

func ended(t *testing.T, c net.Conn) {
	t.Helper()
	require.NoError(t, c.SetReadDeadline(time.Now().Add(10*time.Second)))
	_, err := c.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	require.NotContains(t, err.Error(), "timeout")
}

const begun = "\x16\x03\x01\x02\x00\x01" // the first bytes of a hello

func TestHandshakesThatWaitForTheirClientsMakeRoom(t *testing.T) {
	s := shake(t, 2, time.Hour, tls.NoClientCert)
	first := s.begin(t, "")
	second := s.begin(t, begun)
	require.NoError(t, readTLS(s.dial(t), s.client))
	ended(t, first)
	require.Equal(t, uint64(1), s.Crowded())
	require.Equal(t, 1, s.Under(), "the second goes on")
	require.Equal(t, uint64(1), s.Encrypted())
	require.NoError(t, s.Close())
	ended(t, second)
}

// Work that was begun is not lost: if all wait for a processor, the newest goes.
func TestHandshakesThatWaitForTheServerStay(t *testing.T) {
	s := shake(t, 1, time.Hour, tls.NoClientCert)
	pipe := func() net.Conn {
		c, other := net.Pipe()
		t.Cleanup(func() { _ = other.Close() })
		return c
	}
	first := s.admit(pipe())
	require.NotNil(t, first)
	refused := pipe()
	require.Nil(t, s.admit(refused))
	_, err := refused.Write([]byte("x"))
	require.ErrorIs(t, err, io.ErrClosedPipe)
	first.wait()
	require.True(t, first.woken())
	first.wait()
	require.NotNil(t, s.admit(pipe()))
	require.False(t, first.woken(), "it waited for its client")
	s.over(first)
	require.Equal(t, 1, s.Under())
	require.Equal(t, uint64(2), s.Crowded())
}

func TestHandshakesEnd(t *testing.T) {
	s := shake(t, 100, 50*time.Millisecond, tls.NoClientCert)
	for _, sent := range []string{"", begun} {
		c := s.dial(t)
		_, err := io.WriteString(c, sent)
		require.NoError(t, err)
		ended(t, c)
	}
	require.Eventually(t, func() bool { return s.Under() == 0 }, 10*time.Second, time.Millisecond)
	require.Equal(t, uint64(2), s.Failed())
}

// A client that sends its first request before it can know that it is refused reads why, and the server reads on until it has: a reset may
// cost it the reason. The log does not run over.
func TestRefusedClientsAreToldWhy(t *testing.T) {
	s := shake(t, 100, time.Hour, tls.RequireAnyClientCert)
	first := s.dial(t)
	require.ErrorContains(t, readTLS(first, s.client), "certificate required")
	_, err := io.ReadAll(first)
	require.NoError(t, err)
	require.Equal(t, 1, s.Under(), "until the client hangs up")
	require.NoError(t, first.Close())

	const clients = 50
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			c := s.dial(t)
			if err := readTLS(c, s.client); err == nil || !strings.Contains(err.Error(), "certificate required") {
				t.Errorf("want the alert, got %v", err)
			}
			_ = c.Close()
		})
	}
	all.Wait()
	require.Eventually(t, func() bool { return s.Failed() == clients+1 }, 10*time.Second, time.Millisecond)
	require.Less(t, s.log.lines(), clients/2)
	require.Zero(t, s.Under())
}

func TestRequestsWithoutEncryptionAreToldSo(t *testing.T) {
	s := shake(t, 100, time.Hour, tls.NoClientCert)
	for _, method := range []string{"GET", "POST", "DELETE"} {
		c := s.dial(t)
		_, err := io.WriteString(c, method+" / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		require.Equal(t, 400, resp.StatusCode)
		require.NoError(t, resp.Body.Close())
	}
}
