package simulate_test

import (
	"slices"
	"strconv"

	"github.com/gobwas/ws"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// talk is what a step does with sessions.
func (w *world) talk(s *server, x step) {
	f := s.front
	if x.what == dial {
		if len(f.tunnels) < w.sessions.most && !s.closed {
			w.dials++
			w.logf("server %d: session %d begins", s.name, w.dials)
			f.dial(&tunnel{w: w, f: f, n: w.dials, requests: map[int64]*request{}, held: map[int64]held{}, lost: map[int64]bool{}, released: map[int64]uint64{}})
			f.settle()
		}
		return
	}
	if x.what == tell {
		f.tell()
		return
	}
	if len(f.tunnels) == 0 {
		return
	}
	t := pick(x.c>>2, f.tunnels)
	switch x.what {
	case send:
		if t.cut || t.frozen || t.closes != 0 {
			return
		}
		w.send(t, x)
		if x.a%4 != 0 { // else its bytes go on later
			t.flow(len(t.up), 0)
			f.settle()
		}
	case flow:
		up, down := len(t.up), len(t.out)
		if x.a%4 == 0 {
			up, down = int(x.a>>2)%(up+1), int(x.b)%(down+1)
		}
		t.flow(up, down)
		t.pong()
		if x.c%2 == 0 {
			f.settle()
		}
	case turn:
		if len(f.host.strands) > 0 {
			f.turn(pick(x.a, f.host.strands))
			f.host.tidy()
		}
	case cut:
		w.cut(t, x)
	}
}

// cut ends a session from the side of the client.
func (w *world) cut(t *tunnel, x step) {
	switch x.a % 5 {
	case 0: // the server sees it once it has read a part of what came
		w.logf("session %d is cut", t.n)
		t.in = t.in[:int(x.b)%(len(t.in)+1)]
		t.cut = true
	case 1:
		w.logf("session %d is cut, and the server sees it", t.n)
		t.cut = true
		t.f.settle()
	case 2:
		w.logf("session %d falls silent", t.n)
		t.frozen = true
	case 3:
		if t.closes == 0 && !t.cut && !t.frozen {
			w.logf("session %d is closed", t.n)
			t.closes = ws.StatusNormalClosure
			t.say(ws.OpClose, true, []byte{byte(t.closes >> 8), byte(t.closes & 255)})
		}
	case 4:
		if t.closes == 0 && !t.cut && !t.frozen {
			w.logf("session %d sends what it must not", t.n)
			w.spoil(t, x)
		}
	}
}

// spoil sends what ends a session.
func (w *world) spoil(t *tunnel, x step) {
	switch x.b % 4 {
	case 0:
		t.closes = ws.StatusUnsupportedData
		t.say(ws.OpBinary, true, []byte("{}"))
	case 1:
		t.closes = ws.StatusProtocolError
		t.say(ws.OpCode(5), true, nil)
	case 2:
		t.closes = ws.StatusInvalidFramePayloadData
		t.say(ws.OpText, true, []byte(`{"seq":`))
	case 3: // after a request that takes effect
		t.closes = ws.StatusInvalidFramePayloadData
		if text := w.compose(t, x, nil); text != nil {
			t.say(ws.OpText, true, append(append([]byte{'['}, text...), ",{}]"...))
		} else {
			t.say(ws.OpText, true, []byte("[]"))
		}
	}
}

// send sends up to eight requests in one message.
func (w *world) send(t *tunnel, x step) {
	text, n := []byte{'['}, 1+int(x.a>>16)%8
	if x.a>>15%2 == 0 {
		n = 1
	}
	for i := range uint32(n) {
		before := len(text)
		if before > 1 {
			text = append(text, ',')
		}
		more := w.compose(t, step{x.what, x.a + 7*i, x.b + 11*i, x.c + 13*i}, text)
		if more == nil {
			text = text[:before]
			continue
		}
		text = more
	}
	if len(text) == 1 {
		return
	}
	text = append(text, ']')
	if half := len(text) / 2; x.b%8 == 0 { // in two frames, with another between them
		t.say(ws.OpText, false, text[:half])
		t.say(ws.OpPing, true, nil)
		t.say(ws.OpContinuation, true, text[half:])
		return
	}
	t.say(ws.OpText, true, text)
}

// compose appends a request to a message, and returns nil if it has none.
func (w *world) compose(t *tunnel, x step, b []byte) []byte {
	t.seq++
	r := &request{seq: t.seq, sent: t.order}
	r.what = [...]action{acquire, acquire, acquire, again, again, release, release, release, renew, show, keepalive}[x.c>>6%11]
	if r.what == again && w.recent(x.a) == nil {
		r.what = acquire
	}
	b = append(strconv.AppendInt(append(b, `{"seq":`...), r.seq, 10), `,"op":"`...)
	switch r.what {
	case acquire, again:
		b = append(b, `acquire"`...)
		if r.what == acquire {
			r.req = w.newRequest(x)
			r.req.ID = "s" + strconv.Itoa(t.n) + "." + strconv.FormatInt(t.seq, 10)
		} else {
			r.req = *w.recent(x.a)
			if x.b>>4%16 == 0 {
				r.req.Expire = pick(x.b>>12, leases)
			}
		}
		r.req.Wait, r.req.Uncapped = pick(x.b>>8, waits), true
		b = appendFields(b, &r.req)
	case release, renew:
		ref, ok := w.ref(x)
		if !ok {
			return nil
		}
		r.ref = ref
		if r.what == renew {
			r.expire = pick(x.c>>10, leases)
		}
		b = append(append(b, r.what.String()...), '"')
		b = appendFields(b, &lock.Request{Resource: ref.Resource, Owner: ref.Owner, ID: ref.ID, Expire: r.expire})
		if ref.Token != 0 {
			b = strconv.AppendInt(append(b, `,"token":`...), ref.Token, 10)
		}
	case show:
		b = append(b, `show"`...)
		r.req.Resource = w.resource(x.a)
		b = appendFields(b, &r.req)
	case keepalive:
		b = append(b, `keepalive"`...)
	}
	if x.a>>5%32 == 0 {
		r.wrong = "prefix"
		b = append(b, `,"prefix":"x"`...)
	}
	t.requests[r.seq] = r
	t.sent = append(t.sent, r)
	if len(t.given) > 100 {
		t.given = slices.DeleteFunc(t.given, func(r *request) bool { return r.handed })
	}
	t.given = append(t.given, r)
	return append(b, '}')
}

func appendFields(b []byte, r *lock.Request) []byte {
	for _, field := range [...][2]string{{`"resource":"`, r.Resource}, {`"owner":"`, r.Owner}, {`"id":"`, r.ID}} {
		if field[1] != "" {
			b = append(append(append(append(b, ','), field[0]...), field[1]...), '"')
		}
	}
	if r.Expire != 0 {
		b = strconv.AppendFloat(append(b, `,"expire":`...), r.Expire.Seconds(), 'f', -1, 64)
	}
	if r.MaxHold != 0 {
		b = strconv.AppendFloat(append(b, `,"max_hold":`...), r.MaxHold.Seconds(), 'f', -1, 64)
	}
	if r.Wait != 0 {
		b = strconv.AppendFloat(append(b, `,"wait":`...), r.Wait.Seconds(), 'f', -1, 64)
	}
	switch r.Mode {
	case lock.Shared:
		b = append(b, `,"mode":"shared"`...)
	case lock.Semaphore:
		b = strconv.AppendInt(append(b, `,"limit":`...), int64(r.Limit), 10)
	}
	return b
}
