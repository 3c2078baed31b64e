// Package driver speaks the protocol of PROTOCOL.md with one driver process.
package driver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/lockserver/lockserver/conformance/internal/place"
)

// maxLine is the longest line of the protocol.
const maxLine = 1 << 20

// Hello is what a driver says of itself.
type Hello struct {
	Name     string            `json:"name"`
	Language string            `json:"language"`
	Version  string            `json:"version"`
	Names    string            `json:"names"`
	Forms    []string          `json:"forms"`
	Lacks    map[string]string `json:"lacks"`
}

// Answer is how a request ended: one of the three is set.
type Answer struct {
	OK    map[string]any
	Error map[string]any
	Fault string
}

// Pending is a request that was sent.
type Pending struct {
	ID   int
	Op   string
	Sent time.Time
	// Done is closed when the answer is there; Answer and Ended are valid from then on.
	Done   chan struct{}
	Answer Answer
	Ended  time.Time

	mu     sync.Mutex
	events map[string]*Event
}

// Event is something that happened within a pending request, at most once of each name.
type Event struct {
	// Done is closed when it has happened; Fields and At are valid from then on.
	Done   chan struct{}
	Fields map[string]any
	At     time.Time
}

// Event gives the event of that name, which may have happened or not.
func (p *Pending) Event(name string) *Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.events == nil {
		p.events = map[string]*Event{}
	}
	if p.events[name] == nil {
		p.events[name] = &Event{Done: make(chan struct{})}
	}
	return p.events[name]
}

// Conn is a running driver.
type Conn struct {
	Process place.Driver
	Hello   Hello

	schema *Schema
	ended  chan struct{}

	mu      sync.Mutex
	next    int
	pending map[int]*Pending
	fail    error    // why the conversation is over
	forbid  []string // texts that the driver must never write
	leaked  []string
}

// Start takes over a driver that has just been started, and greets it.
func Start(ctx context.Context, p place.Driver, schema *Schema) (*Conn, error) {
	c := &Conn{Process: p, schema: schema, ended: make(chan struct{}), pending: map[int]*Pending{}}
	go c.read()
	ctx, cancel := context.WithTimeout(ctx, place.Ready)
	defer cancel()
	hello, err := c.Send(Request{Op: "hello", Protocol: 1})
	if err != nil {
		return nil, err
	}
	select {
	case <-hello.Done:
	case <-ctx.Done():
		return nil, fmt.Errorf("no answer to hello: %w", ctx.Err())
	}
	if hello.Answer.OK == nil {
		return nil, fmt.Errorf("hello failed: %s; standard error: %s", hello.Answer.Text(), p.Stderr())
	}
	b, err := json.Marshal(hello.Answer.OK)
	if err != nil {
		return nil, err
	}
	return c, json.Unmarshal(b, &c.Hello)
}

// Text is the answer for people.
func (a Answer) Text() string {
	switch {
	case a.Fault != "":
		return "the driver: " + a.Fault
	case a.Error != nil:
		b, _ := json.Marshal(a.Error) // it came as JSON
		return "error " + string(b)
	}
	b, _ := json.Marshal(a.OK)
	return string(b)
}

// Forbid names a text, such as a secret, that must not show in anything the driver writes (but for the answer to `env`).
func (c *Conn) Forbid(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forbid = append(c.forbid, text)
}

// Leaks are the lines, on standard output or error, that show a forbidden text.
func (c *Conn) Leaks() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	leaks := append([]string{}, c.leaked...)
	for line := range strings.Lines(c.Process.Stderr()) {
		for _, f := range c.forbid {
			if strings.Contains(line, f) {
				leaks = append(leaks, "standard error: "+strings.TrimSpace(line))
			}
		}
	}
	return leaks
}

// Send sends a request, which gets its id here.
func (c *Conn) Send(r Request) (*Pending, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fail != nil {
		return nil, c.fail
	}
	c.next++
	r.ID = c.next
	p := &Pending{ID: r.ID, Op: r.Op, Done: make(chan struct{})}
	line, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if err := c.schema.Check("request", line); err != nil {
		return nil, fmt.Errorf("the case asks for something that the protocol has not: %w", err)
	}
	c.pending[p.ID] = p
	p.Sent = time.Now()
	if _, err := c.Process.Stdin().Write(append(line, '\n')); err != nil {
		delete(c.pending, p.ID)
		return nil, fmt.Errorf("the driver reads no more: %w; end of its standard error: %s", err, tail(c.Process.Stderr()))
	}
	return p, nil
}

// End closes the driver's input and waits until it has ended. It gives the exit code.
func (c *Conn) End(ctx context.Context) (int, error) {
	if err := c.Process.Stdin().Close(); err != nil {
		return 0, err
	}
	code, err := c.Process.Wait(ctx)
	if err != nil {
		return 0, err
	}
	<-c.ended
	return code, nil
}

// Broken says why the conversation is over, nil while it goes on.
func (c *Conn) Broken() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.fail
}

func (c *Conn) read() {
	defer close(c.ended)
	sc := bufio.NewScanner(c.Process.Stdout())
	sc.Buffer(make([]byte, 64<<10), maxLine)
	var err error
	for err == nil && sc.Scan() {
		err = c.line(bytes.Clone(sc.Bytes()))
	}
	if err == nil {
		err = sc.Err()
	}
	if err == nil {
		err = errors.New("the driver closed its standard output")
	}
	c.mu.Lock()
	c.fail = err
	left := c.pending
	c.pending = map[int]*Pending{}
	c.mu.Unlock()
	for _, p := range left {
		p.Answer.Fault = fmt.Sprintf("no answer: %v; end of standard error: %s", err, tail(c.Process.Stderr()))
		p.Ended = time.Now()
		close(p.Done)
	}
	_, _ = io.Copy(io.Discard, c.Process.Stdout()) // a driver that talks on must not hang on a full pipe
}

func (c *Conn) line(line []byte) error {
	now := time.Now()
	if err := c.schema.Check("line", line); err != nil {
		return fmt.Errorf("a line that is not of the protocol: %w: %s", err, line)
	}
	var m struct {
		ID    int
		OK    map[string]any
		Error map[string]any
		Fault string
		Event string
	}
	if err := json.Unmarshal(line, &m); err != nil {
		return err
	}
	c.mu.Lock()
	p := c.pending[m.ID]
	if p != nil && p.Op != "env" {
		for _, f := range c.forbid {
			if bytes.Contains(line, []byte(f)) {
				c.leaked = append(c.leaked, string(line))
			}
		}
	}
	if m.Event == "" {
		delete(c.pending, m.ID)
	}
	c.mu.Unlock()
	if p == nil {
		return fmt.Errorf("an answer to no request: %s", line)
	}
	if m.Event != "" {
		e := p.Event(m.Event)
		select {
		case <-e.Done:
			return fmt.Errorf("an event that came twice: %s", line)
		default:
		}
		if err := json.Unmarshal(line, &e.Fields); err != nil {
			return err
		}
		e.At = now
		close(e.Done)
		return nil
	}
	p.Answer, p.Ended = Answer{OK: m.OK, Error: m.Error, Fault: m.Fault}, now
	if m.OK != nil {
		if err := c.schema.CheckValue("protocol.schema.json#/$defs/ok_"+p.Op, m.OK); err != nil {
			p.Answer = Answer{Fault: fmt.Sprintf("an answer to %s that the protocol has not: %v", p.Op, err)}
		}
	}
	close(p.Done)
	return nil
}

func tail(s string) string {
	const most = 2000
	if len(s) > most {
		return "…" + s[len(s)-most:]
	}
	return s
}
