package lockctl

import (
	"encoding/json"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestHistory(t *testing.T) {
	w := newWorld(t, "--history", "1000")
	require.Zero(t, w.run("run", "--note", "first\x07", "r", "--", "true").code)
	j := w.start("run", "r", "--", "sh", "-c", "echo up; exec sleep 600")
	j.says("up")
	waiter := w.start("run", "r", "--", "true")
	require.Eventually(t, func() bool { l, _ := w.show("r"); return len(l.Queue) == 1 }, patience, 5*time.Millisecond)
	waiter.signal(syscall.SIGINT)
	waiter.wait()
	require.Eventually(t, func() bool { l, _ := w.show("r"); return len(l.Queue) == 0 }, patience, 5*time.Millisecond)
	require.Zero(t, w.run("force-release", "--yes", "r").code)

	var text string
	require.Eventually(t, func() bool {
		text = w.run("history", "r").stdout.String()
		return strings.Contains(text, "evicted")
	}, patience, 5*time.Millisecond)
	const later = "(?s).*\n[^\n]*"
	require.Regexp(t, "^TIME +WHAT +OWNER +TOKEN +AFTER +WAITING +NOTE\n[^\n]*granted [^\n]*first\ufffd"+
		later+"released "+later+"granted "+later+"queued "+later+"left: [a-z]+ "+later+"evicted by 127.0.0.1:", text)
	require.Len(t, strings.Split(strings.TrimSpace(w.run("history", "--limit", "2", "r").stdout.String()), "\n"), 3)

	var h struct {
		Resource string
		Events   []struct{ Kind string }
	}
	require.NoError(t, json.Unmarshal([]byte(w.run("history", "--json", "r").stdout.String()), &h))
	require.Equal(t, "r", h.Resource)
	require.Equal(t, "granted", h.Events[0].Kind)
	require.Equal(t, "evicted", h.Events[len(h.Events)-1].Kind)

	none := w.run("history", "unheard-of")
	require.Zero(t, none.code)
	require.Contains(t, none.stderr.String(), `nothing has happened to "unheard-of" since `)
	require.Equal(t, 125, w.run("history", "--limit", "1001", "r").code)
}

func TestHistoryOfAServerThatKeepsNone(t *testing.T) {
	w := newWorld(t)
	none := w.run("history", "r")
	require.Equal(t, 123, none.code)
	require.Contains(t, none.stderr.String(), "this server keeps no history")
}

func TestWhy(t *testing.T) {
	w := newWorld(t)
	free := w.run("why", "r")
	require.Equal(t, 1, free.code)
	require.Contains(t, free.stderr.String(), "nobody holds")
	require.Equal(t, 125, w.run("why", "--json", "r").code)

	j := w.start("run", "--note", "first", "r", "--", "sh", "-c", "echo up; exec sleep 600")
	j.says("up")
	require.Regexp(t, `^"r" is held by \S+ for \S+ \(first\)\.
The lease has \S+ left; a holder that lives may renew it\.
Nobody waits for it\.
It was held 0 times lately: too few to say how long that takes as a rule\.
$`, w.run("why", "r").stdout.String())

	for range 5 {
		require.Zero(t, w.run("run", "busy", "--", "true").code)
	}
	holder := w.start("run", "busy", "--", "sh", "-c", "echo up; exec sleep 600")
	holder.says("up")
	w.start("run", "--note", "me too", "busy", "--", "true")
	require.Eventually(t, func() bool { l, _ := w.show("busy"); return len(l.Queue) == 1 }, patience, 5*time.Millisecond)
	require.Regexp(t, `(?s)^"busy" is held by .*\n1 waits for it: \S+, since \S+ \(me too\)\.
Of the last 5 times that it was held, half took up to \S+, and nine in ten up to \S+\.
(If that goes on, who asks now waits for about \S+, and nine times in ten for no more than \S+\.|It has never been held for as long as now, .*)
$`, w.run("why", "busy").stdout.String())
}
