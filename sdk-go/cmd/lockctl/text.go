package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

// clean keeps what a client chose as a name from doing anything to a terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '\ufffd'
	}, s)
}

func quote(s string) string { return strconv.Quote(s) }

// short is a duration for people.
func short(d time.Duration) string {
	switch {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Hour:
		return d.Round(time.Second).String()
	default:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
}

// left is the time left of a lease.
func left(d time.Duration) string {
	if d == 0 {
		return "until released"
	}
	return short(d)
}

// kind says how a lock is held.
func kind(l *lockserver.LockInfo) string {
	if l.Limit > 0 {
		return fmt.Sprintf("%d of %d permits", l.HoldersTotal, l.Limit)
	}
	return l.Mode
}

// painter colours a text, where a person looks.
type painter bool

func (t *tool) painter() painter {
	return painter(os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(t.stdout))
}

func (p painter) bold(s string) string { return p.paint("1", s) }
func (p painter) dim(s string) string  { return p.paint("2", s) }

func (p painter) paint(code, s string) string {
	if !p {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

// table writes rows in columns. Colour stands only in the first row and behind the last tab, where it does not shift a column.
type table struct{ w *tabwriter.Writer }

func (t *tool) table(columns ...string) *table {
	const gap = 2
	tb := &table{tabwriter.NewWriter(t.stdout, 0, 0, gap, ' ', 0)}
	tb.row(columns...)
	return tb
}

func (tb *table) row(cells ...string) { fmt.Fprintln(tb.w, strings.Join(cells, "\t")) }

func (tb *table) flush() error { return tb.w.Flush() }
