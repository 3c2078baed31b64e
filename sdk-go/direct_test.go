package lockserver

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

// A connection that is full takes a part of a message. Its rest follows before anything else, and holds up no request whose context ends.
func TestMessagesStayWholeOnAConnectionThatIsFull(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	near, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	far, err := listener.Accept()
	require.NoError(t, err)
	require.NoError(t, near.(*net.TCPConn).SetWriteBuffer(16<<10))
	require.NoError(t, far.(*net.TCPConn).SetReadBuffer(16<<10))
	defer far.Close()
	client, err := New(WithSecret("over-a-wire-0123"), WithoutDotEnv(), WithTransport(Session))
	require.NoError(t, err)
	sessions := client.transport.(*sessionTransport)
	s := newSession(sessions, sessions.servers.current(), near, near)

	const requests = 1000
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	long := strings.Repeat("r", 1000)
	var all sync.WaitGroup
	for range requests {
		all.Go(func() {
			s.send(ctx, attempt{op: &opAcquire, began: time.Now(), request: &acquireRequest{Resource: long, Owner: "o"}, bound: time.Minute, limit: time.Minute})
		})
	}
	all.Wait() // nothing is read yet, and no request is answered

	seen := map[int64]bool{}
	for len(seen) < requests {
		header, err := ws.ReadHeader(far)
		require.NoError(t, err)
		text := make([]byte, header.Length)
		_, err = io.ReadFull(far, text)
		require.NoError(t, err)
		ws.Cipher(text, header.Mask, 0)
		if text[0] != '[' {
			text = []byte("[" + string(text) + "]")
		}
		var got []asked
		require.NoError(t, json.Unmarshal(text, &got))
		for _, r := range got {
			require.False(t, seen[r.Seq], "%d came twice", r.Seq)
			seen[r.Seq] = true
		}
	}
	s.end(net.ErrClosed)
	require.NoError(t, client.Close())
}

// A release whose context ends before its answer goes on as it is: it is not sent again.
func TestAReleaseGoesOnFromItsFirstAttempt(t *testing.T) {
	var mu sync.Mutex
	releases := 0
	answered := make(chan struct{})
	client := newPiped(t, func(int) func(net.Conn) {
		return each(func(r asked) string {
			if r.Op != "release" {
				return grantOf(r)
			}
			mu.Lock()
			releases++
			mu.Unlock()
			<-answered
			return freedOf(r)
		})
	})
	client.bounds.Grace = 10 * time.Millisecond
	lock, err := client.Acquire(context.Background(), "r")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err = lock.Release(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	close(answered)
	<-lock.Done()
	require.NoError(t, lock.Err())
	held, err := lock.Release(context.Background())
	require.NoError(t, err)
	require.True(t, held)
	require.Equal(t, 1, releases)
	require.NoError(t, client.Close())
}
