package simulate_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// mutation is one deliberate mistake in the source: the text that stands for it, and what it looks like when it is caught.
type mutation struct {
	name, says string
	file       string // below server/internal; none for one of the package fault
	old, wrong string // wrong takes effect where broken("name") is true
	caught     string
}

var mutations = []mutation{
	{name: "barging", says: "a new request that fits overtakes those who wait", caught: "who came first"},
	{name: "last-in-first-out", says: "who comes last is served first", caught: "who came first|waits for .* free"},
	{name: "late-expiry", says: "leases end 5 s late", caught: "past the end of its lease|that nobody has|does not show"},
	{name: "lost-commit", says: "nothing is stored", caught: "not durable"},
	{name: "ids-forgotten", says: "no id that has ended is remembered", caught: "its id has ended|id was cancelled"},
	{
		"overtaking", "a waiter who does not fit is passed over", "lock/queue.go",
		"if !r.admits(c) {\n", "if !r.admits(c) {\nif broken(\"overtaking\") { c = next; continue }\n", "who came first",
	},
	{
		"lost-wake-up", "nobody is promoted when a waiter goes away", "lock/leave.go",
		"t.absent(now, c, WhyGone)\n\t\tt.promote(now, c.res)", "t.absent(now, c, WhyGone)\nif !broken(\"lost-wake-up\") { t.promote(now, c.res) }", "which is free for it",
	},
	{
		"late-look", "an operation does not end what is due first", "lock/table.go",
		"more := t.Advance(now, opBudget)", "more := !broken(\"late-look\") && t.Advance(now, opBudget)", "past the end of its lease|whose lease is over|that nobody has",
	},
	{
		"dead-grants", "a lease that is over is told", "lock/deliver.go",
		"return d.deadline-now >= shortest", "return d.deadline-now >= shortest || broken(\"dead-grants\")", "which is over",
	},
	{
		"shortened", "a renewal can shorten a lease", "lock/renew.go",
		"c.deadline = max(c.deadline, now+expire)", "c.deadline = max(c.deadline, now+expire)\nif broken(\"shortened\") { c.deadline = now+expire }", "shorter than promised|before it",
	},
	{
		"stale-leave", "who is not the newest client takes the grant with it", "lock/leave.go",
		"if c.gen != ticket.gen {", "if c.gen != ticket.gen && !broken(\"stale-leave\") {", "leaves twice|never answered|promised|before its time",
	},
	{
		"ghosts", "a grant whose client went away is never handed on", "lock/leave.go",
		"c.mark = now + int64(PlaceKept)", "if !broken(\"ghosts\") { c.mark = now + int64(PlaceKept) }", "ghost",
	},
	{
		"ghosts-asked-again", "an answer to an id asked again counts as delivered", "lock/acquire.go",
		"c.told |= 1\n", "c.told |= 1\nif broken(\"ghosts-asked-again\") && !c.offered { c.told |= 1 << forSure }\n", "ghost",
	},
	{
		"only-the-newest", "a grant goes back when its newest answer is lost", "lock/leave.go",
		"c.told &^= 1 << age\n", "c.told &^= 1 << age\nif broken(\"only-the-newest\") && age == 0 { c.told = 0 }\n", "its client has it|promised|with token",
	},
	{
		"last-permit", "a semaphore has one permit too many", "lock/resource.go",
		"return r.holders.n < int(r.permits)", "return r.holders.n < int(r.permits) || broken(\"last-permit\") && r.holders.n == int(r.permits)", "with \\d permits|which others hold",
	},
	{
		"to-the-end", "a grant that lapses goes to the end of the queue", "lock/queue.go",
		"for at != nil && at.arrival < c.arrival {", "for at != nil && (at.arrival < c.arrival || broken(\"to-the-end\")) {", "who came first",
	},
	{
		"miscounted", "a waiter that gets its lock is counted on", "lock/queue.go",
		"t.stats.Waiters--", "if !broken(\"miscounted\") || !c.present() { t.stats.Waiters-- }", "waiters are counted",
	},
	{
		"tokens-again", "a server starts with tokens that were used", "lock/table.go",
		"t.token = max(t.token, last)", "if !broken(\"tokens-again\") { t.token = max(t.token, last) }", "comes after",
	},
	{
		"first-lease", "after a restart a lease has the length it had first", "lock/table.go",
		"lease: int64(rec.Lease), timer", "lease: map[bool]int64{true: int64(rec.Expire), false: int64(rec.Lease)}[broken(\"first-lease\")], timer", "before it|promised|without need",
	},
	{
		"unbounded", "a renewal goes beyond the longest hold", "lock/claim.go",
		"end != 0 && !fault.HoldsWithoutBound", "end != 0 && (!broken(\"unbounded\") || c.deadline <= c.since+c.lease)", "is held for .* at most",
	},
	{
		"unbounded-again", "a restart forgets the longest hold", "lock/table.go",
		"int64(rec.Lease), int64(rec.MaxHold))", "int64(rec.Lease), map[bool]int64{false: int64(rec.MaxHold)}[broken(\"unbounded-again\")])", "is held for .* at most|past the end",
	},
	{
		"not-looked", "nobody looks for holders that are stuck", "lock/stuck.go",
		"due = min(due, max(waited, q.nextLook))", "if !broken(\"not-looked\") { due = min(due, max(waited, q.nextLook)) }", "is stuck, which nobody was told",
	},
	{
		"early-answers", "an answer does not wait for the disk", "engine/commit.go",
		"case due.After <= e.durable:", "case due.After <= e.durable || broken(\"early-answers\"):", "not durable|still durable",
	},
	{
		"with-the-wrong-commit", "an answer leaves with the commit before its own", "engine/commit.go",
		"due.After <= e.inflight.last:", "(due.After <= e.inflight.last || broken(\"with-the-wrong-commit\")):", "not durable|still durable",
	},
	{
		"early-events", "events are told before they are durable", "engine/commit.go",
		"if e.inflight == nil && len(e.pending.Changes) == 0 {", "if e.inflight == nil && len(e.pending.Changes) == 0 || broken(\"early-events\") {", "not durable",
	},
	{
		"unconfirmed", "a server that may have been replaced answers from its memory", "engine/commit.go",
		"\tif e.shared {\n", "\tif e.shared && !broken(\"unconfirmed\") {\n", "which is durable|promised|not durable",
	},
	{
		"undaunted", "the engine goes on after a commit that failed", "engine/commit.go",
		"\tif err != nil {\n\t\te.fail(err)\n\t\treturn false", "\tif err != nil && !broken(\"undaunted\") {\n\t\te.fail(err)\n\t\treturn false", "not durable|still durable|not stored|not there|lost|promised",
	},
	{
		"unanswered", "the first answer of a large commit is lost", "engine/commit.go",
		"e.send(now, &b.Answers[i])", "if !broken(\"unanswered\") || i > 0 || len(b.Answers) < 3 { e.send(now, &b.Answers[i]) }", "never answered|not answered|past the end",
	},
	{
		"slow-alarm", "the alarm is not set to an earlier deadline", "engine/alarm.go",
		"e.armed != 0 && e.armed <= next ||", "e.armed != 0 && (e.armed <= next || broken(\"slow-alarm\")) ||", "past the end of its lease|which is free|never answered",
	},
	{
		"put-off-for-ever", "an answer that is put off on a store that commits at once is forgotten", "engine/commit.go",
		"e.settled = 0 // what", "if !broken(\"put-off-for-ever\") { e.settled = 0 } // what", "never answered|past the end",
	},
	{
		"granted-without-room", "a lock is granted although the store is full", "lock/acquire.go",
		"case free && t.full:", "case free && t.full && !broken(\"granted-without-room\"):", "while the store is full",
	},
	{
		"promoted-without-room", "a waiter is granted a lock although the store is full", "lock/queue.go",
		"\tif t.full {\n", "\tif t.full && !broken(\"promoted-without-room\") {\n", "while the store is full",
	},
	{
		"no-news-of-room", "who waits is not served when the store has room again", "engine/full.go",
		"more = e.table.Promote(now, budget)", "more = !broken(\"no-news-of-room\") && e.table.Promote(now, budget)", "which is free for it",
	},
	{
		"wanted-in-silence", "an answer does not say that somebody wants the lock", "lock/table.go",
		"YieldTo: c.askedToYield()", "YieldTo: map[bool]string{false: c.askedToYield()}[broken(\"wanted-in-silence\")]", "not told of",
	},
	{name: "yields-not-told", says: "a session is not told that somebody wants its lock", caught: "never told|was to come"},
	{name: "answers-swapped", says: "two answers of one message have each other's seq", caught: "none of its requests|was to come|is answered"},
	{name: "losses-not-told", says: "no session is told of what it loses", caught: "never told|was to come"},
	{name: "keepalive-renews-nothing", says: "a keepalive is answered, and no lease is renewed", caught: "no renewals say so"},
	{name: "waiters-of-sessions-kept", says: "what a session did not deliver is not given back", caught: "neither answered nor given back"},
	{
		"given-back-twice", "a grant that was delivered is given back with the session", "session/write.go",
		"x.calls.end(f.calls)\n", "if !broken(\"given-back-twice\") { x.calls.end(f.calls) }\n", "gives back what it has delivered",
	},
	{
		"half-delivered", "an answer that was cut off counts as delivered", "session/write.go",
		"\t\t\terr = x.send(b)\n", "\t\t\tif err = x.send(b); err != nil && broken(\"half-delivered\") { x.mu.Lock(); x.calls.end(f.calls); x.mu.Unlock() }\n", "neither answered nor given back",
	},
	{
		"no-time-limit", "a client that takes nothing holds its session for ever", "session/write.go",
		"x.until.Sub(now) < limit {", "x.until.Sub(now) < limit && !broken(\"no-time-limit\") {", "no time to write",
	},
	{
		"closed-too-early", "a session is closed before all is answered", "session/write.go",
		"if x.closing == nil && x.finishing && x.calls.unanswered == 0 {", "if x.closing == nil && x.finishing && (x.calls.unanswered == 0 || broken(\"closed-too-early\")) {", "is closed, but",
	},
	{
		"half-open-for-ever", "a client that falls silent is kept for ever", "session/write.go",
		"if x.pings == wire.SessionPings && ", "if x.pings == wire.SessionPings && !broken(\"half-open-for-ever\") && ", "never ends",
	},
	{
		"taken-for-dead", "a client that answers pings is taken for dead", "session/read.go",
		"\tx.pings = 0\n", "\tif !broken(\"taken-for-dead\") { x.pings = 0 }\n", "as if it were dead",
	},
	{
		"no-news-of-the-last-write", "who waits for the end of a write is not told of it", "session/write.go",
		"\t\t\tx.writing = false\n\t\t\tx.changed.Broadcast()\n", "\t\t\tx.writing = false\n\t\t\tif !broken(\"no-news-of-the-last-write\") { x.changed.Broadcast() }\n", "never answered|never ends|does not end",
	},
	{
		"operations-without-bound", "a session reads on, whatever is on its way", "session/session.go",
		"x.calls.unanswered-x.calls.parked >= x.server.cfg.MaxOperations ||", "!broken(\"operations-without-bound\") && x.calls.unanswered-x.calls.parked >= x.server.cfg.MaxOperations ||", "operations on their way",
	},
	{
		"unsent-without-bound", "a session reads on, however much is unsent", "session/session.go",
		"x.unsent > x.server.cfg.MaxUnsent)", "x.unsent > x.server.cfg.MaxUnsent && !broken(\"unsent-without-bound\"))", "bytes unsent",
	},
	{
		"parked-count", "a request that waits counts as one on its way", "session/calls.go",
		"\ts.parked++\n", "\tif !broken(\"parked-count\") { s.parked++ }\n", "never answered|panic|operations on their way|does not end|come to rest",
	},
	{
		"told-to-the-first", "the loss of a grant that was taken over is told where it was acquired", "session/server.go",
		"\tp.sessions[token] = x\n", "\tif p.sessions[token] == nil || !broken(\"told-to-the-first\") { p.sessions[token] = x }\n", "never told|was to come",
	},
	{
		"lost-in-time", "a keepalive names losses that were told, and what was released", "session/keepalive.go",
		"for i := range k.lost {\n", "for i := range k.lost {\nif broken(\"lost-in-time\") { x.held[k.lost[i].Token] = held{} }\n", "no renewals say so|told twice",
	},
	{
		"first-slice", "a keepalive ends with its first slice", "session/keepalive.go",
		"\t\t\tserver.host.Yield()\n", "\t\t\tif broken(\"first-slice\") && i > 2 { k.left = 0; k.done(); return }\n\t\t\tserver.host.Yield()\n", "no renewals say so|does not renew|panic",
	},
	{
		"second-keepalive", "a keepalive behind another one is forgotten", "session/keepalive.go",
		"x.keeping = false; len(x.kept) > 0 {", "x.keeping = false; len(x.kept) > 0 && !broken(\"second-keepalive\") {", "never answered",
	},
	{
		"drains-in-silence", "a session is not told that its server shuts down", "session/server.go",
		"s.each(func(x *session) { x.push(wire.AppendDrainingEvent) })", "if !broken(\"drains-in-silence\") { s.each(func(x *session) { x.push(wire.AppendDrainingEvent) }) }", "was to come|before it was told",
	},
}

// TestMutationsAreCaught builds the simulator with every mutation in it, and runs it with one at a time.
func TestMutationsAreCaught(t *testing.T) {
	binary := buildMutated(t)
	simulate := func(t *testing.T, name, seeds string) (string, error) {
		cmd := exec.CommandContext(t.Context(), binary, "-test.run", "^TestSimulate$", "-test.v", "-seed", "1", "-seeds", seeds, "-workers", "1")
		cmd.Env = append(os.Environ(), "BROKEN="+name, "FAULT="+name)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	t.Run("none", func(t *testing.T) {
		out, err := simulate(t, "none", "300")
		require.NoError(t, err, out)
	})
	steps := regexp.MustCompile(`\d+ seeds from 1, (\d+) steps`)
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			out, err := simulate(t, m.name, "2000")
			require.Error(t, err, "%s is not caught", m.says)
			said := regexp.MustCompile(`(?m)seed \d+: after.*$`).FindString(out)
			require.Regexp(t, m.caught, said, out)
			t.Logf("after %s steps in all; %s", steps.FindStringSubmatch(out)[1], said)
		})
	}
}

// buildMutated builds this package with the tag faults and all mutations, of which the environment chooses one.
func buildMutated(t *testing.T) string {
	dir := t.TempDir()
	overlay := map[string]string{}
	sources := map[string]string{}
	for _, m := range mutations {
		if m.file == "" {
			continue
		}
		path, err := filepath.Abs(filepath.Join("..", m.file))
		require.NoError(t, err)
		if sources[path] == "" {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			sources[path] = string(b)
			pack := filepath.Base(filepath.Dir(path))
			sources[filepath.Join(filepath.Dir(path), "broken.go")] = fmt.Sprintf(
				"package %s\n\nimport \"os\"\n\nvar brokenAs = os.Getenv(\"BROKEN\")\n\nfunc broken(name string) bool { return brokenAs == name }\n", pack)
		}
		require.Equal(t, 1, strings.Count(sources[path], m.old), "%s: %q must stand in %s once", m.name, m.old, m.file)
		sources[path] = strings.Replace(sources[path], m.old, m.wrong, 1)
	}
	n := 0
	for path, text := range sources {
		n++
		file := filepath.Join(dir, fmt.Sprintf("%d.go", n))
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		overlay[path] = file
	}
	b, err := json.Marshal(map[string]any{"Replace": overlay})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), b, 0o600))
	binary := filepath.Join(dir, "simulate.test")
	out, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "faults", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}
