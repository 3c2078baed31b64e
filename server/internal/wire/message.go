package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// sessionOperations are the operations that a session can ask for, in the order of the choices of the field op.
var sessionOperations = [...]Operation{Acquire, Release, Renew, Show, Keepalive}

// sessionFields are the fields of all of them.
var sessionFields = func() fieldSet {
	set := fieldSet(1<<FieldSeq | 1<<FieldOp)
	for _, op := range sessionOperations {
		set |= operationRows[op].fields
	}
	return set
}()

// Message reads the requests in a message of a session: one JSON object, or an array of them.
type Message struct {
	d     decoder
	array bool
	count int
}

// BrokenError says why a message as a whole cannot be read, so that the session has to end.
type BrokenError struct{ Reason string }

func (e *BrokenError) Error() string { return e.Reason }

// Read starts to read a message. The message keeps b until the last request is read.
func (m *Message) Read(b []byte) {
	*m = Message{d: decoder{b: b, allowed: sessionFields, scratch: m.d.scratch}}
	m.d.space()
	if m.d.peek() == '[' {
		m.array = true
		m.d.i++
	}
}

// Next decodes the next request into f, as strictly as the body of a request over HTTP. It returns [io.EOF] after the last one, a
// problem if this request is wrong but has a seq to answer it by, and a [*BrokenError] if the message cannot be read any further.
func (m *Message) Next(f *Fields) (op Operation, p *Problem, err error) {
	if err := m.separator(); err != nil {
		return Other, nil, err
	}
	if m.count++; m.count > SessionRequests {
		return Other, nil, &BrokenError{fmt.Sprintf("a message has more than %d requests", SessionRequests)}
	}
	f.reset()
	m.d.fields, m.d.seen = f, 0
	start := m.d.i
	if p := m.d.object(); p != nil {
		return Other, p, m.skip(start, f, p)
	}
	if !f.Has(FieldSeq) {
		return Other, nil, &BrokenError{"a request has no seq"}
	}
	if p := f.require(1 << FieldOp); p != nil {
		return Other, p, nil
	}
	op = sessionOperations[f.number[FieldOp]]
	return op, m.fit(op, f), nil
}

// separator reads what stands before a request: nothing, a comma, or the end of the message.
func (m *Message) separator() error {
	m.d.space()
	c := m.d.peek()
	switch {
	case m.array && c == ']':
		m.array = false
		m.d.i++
		m.d.space()
		if m.count == 0 {
			return &BrokenError{"a message has no request"}
		}
		return m.end()
	case m.count == 0:
		return nil
	case m.array && c == ',':
		m.d.i++
		m.d.space()
		return nil
	case m.array:
		return &BrokenError{"a message has " + m.d.excerpt(m.d.i) + " after a request; allowed: a comma or the end of the array"}
	}
	return m.end()
}

func (m *Message) end() error {
	if m.d.i < len(m.d.b) {
		return &BrokenError{"a message goes on after its end with " + m.d.excerpt(m.d.i)}
	}
	return io.EOF
}

// fit checks that the fields are those of the operation. A session has no other name for an acquisition than its id.
func (m *Message) fit(op Operation, f *Fields) *Problem {
	row := &operationRows[op]
	allowed, required := row.fields|1<<FieldSeq|1<<FieldOp, row.required
	if extra, ok := (m.d.seen &^ allowed).first(func(Field) bool { return true }); ok {
		return invalid(extra.String(), "is not a field of this request", "the fields "+allowed.String())
	}
	if op == Acquire {
		required |= 1 << FieldID
	}
	return f.require(required)
}

// skip goes on behind a request that is wrong. Only its seq is kept. Without one, or if the JSON itself is broken, the message is.
func (m *Message) skip(start int, f *Fields, p *Problem) error {
	broken := &BrokenError{p.Detail}
	d := json.NewDecoder(bytes.NewReader(m.d.b[start:]))
	var request struct {
		Seq json.RawMessage `json:"seq"`
	}
	if d.Decode(&request) != nil {
		return broken
	}
	n, length := scanNumber(request.Seq)
	f.reset()
	if length == 0 || length != len(request.Seq) || !f.setNumber(FieldSeq, n) {
		return broken
	}
	f.given = 1 << FieldSeq
	m.d.i = start + int(d.InputOffset())
	return nil
}
