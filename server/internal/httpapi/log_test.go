package httpapi_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRequestsAreLoggedAtDebugLevelWithoutTheSecret(t *testing.T) {
	var log lockedBuffer
	s := start(t, setup{logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	require.Equal(t, 200, s.acquire(`{"resource":"r","owner":"o"}`).status)
	require.Equal(t, 401, s.do("GET", "/locks", "", "X-LOCKSERVER-SECRET", "nearly-"+secret).status)
	s.eventually("both logged", func() bool { return strings.Count(log.String(), "msg=request") == 2 })
	require.Contains(t, log.String(), "path=/acquire outcome=granted")
	require.Contains(t, log.String(), "path=/locks outcome=unauthorized")
	require.NotContains(t, log.String(), secret)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
