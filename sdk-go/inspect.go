package lockserver

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"time"
)

// LockInfo is what the server says about a resource that is held or awaited.
type LockInfo struct {
	Resource     string
	Mode         string   // "exclusive" or "shared"; "" for a semaphore
	Limit        int      // permits of a semaphore; 0 for the others
	Holders      []Holder // not always all of them
	HoldersTotal int
	Waiters      int
	Queue        []Waiter // of Show only: the first 100
}

// Holder is one grant.
type Holder struct {
	Owner     string
	ID        string // "" where the server does not say
	Token     int64
	Note      string
	HeldFor   time.Duration
	ExpiresIn time.Duration // 0: held until released
}

// Waiter is one acquisition that waits.
type Waiter struct {
	Position int // 1 is next
	Owner    string
	ID       string
	Note     string
	Waited   time.Duration
	Present  bool // false: its connection is gone, and its place is kept for a while
}

// ListOptions narrows [Client.List]. Zero fields do not.
type ListOptions struct {
	Prefix string // of the resource
	Owner  string // of a holder
	Limit  int    // of a page; the server has a default and a maximum
	Cursor string // Next of the page before
}

// Page is a part of all locks.
type Page struct {
	Locks []LockInfo
	Next  string // the cursor of the next page; "" after the last
}

// List returns a page of what is locked, the oldest first. Where the connection breaks it asks again, until ctx ends, which gives the same
// errors as in [Client.Acquire], or for 30 s where ctx has no deadline (ErrConnectionFailed).
func (c *Client) List(ctx context.Context, o ListOptions) (*Page, error) {
	query := url.Values{}
	for name, value := range map[string]string{"prefix": o.Prefix, "owner": o.Owner, "cursor": o.Cursor} {
		if value != "" {
			query.Set(name, value)
		}
	}
	if o.Limit != 0 {
		query.Set("limit", strconv.Itoa(o.Limit))
	}
	var answer wirePage
	if err := c.look(ctx, "", call{op: opList, query: query}, &answer); err != nil {
		return nil, err
	}
	page := &Page{Next: answer.Next, Locks: make([]LockInfo, len(answer.Locks))}
	for i := range answer.Locks {
		page.Locks[i] = *answer.Locks[i].info()
	}
	return page, nil
}

// Show returns who holds a resource and who waits for it. One that is free is ErrNotFound. It asks again and gives up as [Client.List] does.
func (c *Client) Show(ctx context.Context, resource string) (*LockInfo, error) {
	var answer wireLock
	if err := c.look(ctx, resource, call{op: opShow, query: url.Values{"resource": {resource}}}, &answer); err != nil {
		return nil, err
	}
	return answer.info(), nil
}

// ForceRelease takes the resource from whoever holds it, for operators. With a token other than 0 it takes only that grant. It returns
// who was evicted; where nothing is held that is ErrNotFound. An evicted holder hears of it only at its next renewal or deadline. The
// request is sent once, and bounded by 10 s, so that an ErrConnectionFailed leaves open what happened.
func (c *Client) ForceRelease(ctx context.Context, resource string, token int64) ([]Holder, error) {
	if err := c.begin(resource); err != nil {
		return nil, err
	}
	defer c.done()
	query := url.Values{"resource": {resource}}
	if token != 0 {
		query.Set("token", strconv.FormatInt(token, 10))
	}
	bounded, cancel := context.WithTimeout(ctx, c.tuning.AnswerTimeout)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	var answer wireEvicted
	err := c.once(bounded, call{op: opForceRelease, query: query}, &answer)
	if err = c.explain(ctx, bounded, c.tuning.AnswerTimeout, err); err != nil {
		return nil, about(resource, err)
	}
	return holders(answer.Evicted), nil
}

// look asks until there is an answer, within ctx, or 30 s where it has no deadline.
func (c *Client) look(ctx context.Context, resource string, what call, out any) error {
	if err := c.begin(resource); err != nil {
		return err
	}
	defer c.done()
	if _, limited := ctx.Deadline(); !limited {
		bounded, cancel := context.WithTimeout(ctx, c.tuning.Silence)
		defer cancel()
		return c.lookWithin(bounded, ctx, resource, what, out)
	}
	return c.lookWithin(ctx, ctx, resource, what, out)
}

func (c *Client) lookWithin(ctx, caller context.Context, resource string, what call, out any) error {
	retries := backoff{start: c.tuning.BackoffStart, cap: c.tuning.BackoffCap}
	var trouble error
	for {
		began := time.Now()
		what.fresh = retries.failed()
		_, err := c.attempt(ctx, c.tuning.AnswerTimeout, what, out)
		switch {
		case !isTransient(err):
			return about(resource, err)
		case caller.Err() != nil:
			return gaveUp(caller, resource, trouble)
		case c.life.Err() != nil:
			return closedError(resource)
		case ctx.Err() != nil:
			return &Error{Code: ErrConnectionFailed, Resource: resource, Message: fmt.Sprintf("no answer for %v", c.tuning.Silence), cause: trouble}
		}
		trouble = err
		pause(ctx, c.life, retries.after(began, err))
	}
}

func (w *wireLock) info() *LockInfo {
	info := &LockInfo{
		Resource: w.Resource, Mode: w.Mode, Limit: w.Limit,
		Holders: holders(w.Holders), HoldersTotal: w.HoldersTotal, Waiters: w.Waiters,
	}
	for _, q := range w.Queue {
		info.Queue = append(info.Queue, Waiter{
			Position: q.Position, Owner: q.Owner, ID: q.ID, Note: q.Note, Waited: duration(q.Waited), Present: q.Present,
		})
	}
	return info
}

func holders(wire []wireHolder) []Holder {
	list := make([]Holder, len(wire))
	for i, h := range wire {
		list[i] = Holder{
			Owner: h.Owner, ID: h.ID, Token: h.Token, Note: h.Note,
			HeldFor: duration(h.HeldFor), ExpiresIn: optionalDuration(h.ExpiresIn),
		}
	}
	return list
}
