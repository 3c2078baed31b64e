package wire

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// request is what Next said of one request.
type request struct {
	op     Operation
	fields Fields
	p      *Problem
}

func readAll(text []byte) (list []request, err error) {
	var m Message
	m.Read(text)
	for {
		var r request
		r.op, r.p, err = m.Next(&r.fields)
		if errors.Is(err, io.EOF) {
			return list, nil
		}
		if err != nil {
			return list, err
		}
		list = append(list, r)
	}
}

func TestMessageGoesOnBehindAWrongRequest(t *testing.T) {
	list, err := readAll([]byte(`[ {"seq":1,"op":"show","resource":"a"} , {"seq":2,"x":{"y":"]}"}} ,{"op":"keepalive","seq":3}]  `))
	require.NoError(t, err)
	require.Len(t, list, 3)
	require.Nil(t, list[0].p)
	require.Equal(t, Show, list[0].op)
	require.Equal(t, "a", list[0].fields.Text(FieldResource))
	require.Equal(t, "x", list[1].p.Field)
	require.EqualValues(t, 2, list[1].fields.Number(FieldSeq))
	require.Empty(t, list[1].fields.Text(FieldResource), "of the request before")
	require.Equal(t, Keepalive, list[2].op)
	require.EqualValues(t, 3, list[2].fields.Number(FieldSeq))
}

// FuzzMessage holds the reader of messages against encoding/json and the slow decoder of bodies.
func FuzzMessage(f *testing.F) {
	for _, seed := range []string{
		`{"seq":1,"op":"keepalive"}`, `[]`, `[{"seq":1,"op":"acquire","resource":"r","owner":"o","id":"i","expire":1.5}, {"op":"show","seq":2,"resource":"é"}]`,
		`{"seq":1e2,"op":"release","resource":"r","owner":"o","token":null}`, `[{"seq":1,"op":"renew"},{"seq":2,"op":[[[]]]}]`, `[{"seq":1,"op":"show","resource":"r"`,
		`{"seq":1}{"seq":2}`, `[{"seq":1,"op":"show","resource":"\ud800"},{"seq":0}]`, ` [ { "seq" : 9007199254740991 , "op" : "keepalive" } ] `, "\x00", `[[{"seq":1}]]`,
		`[{"seq":1,"op":"acquire","resource":"r","owner":"o","id":"i","limit":2,"mode":null},]`, `{"seq":"1","op":"show"}`, `{"SEQ":1,"op":"x"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		list, err := readAll(text)
		elements, valid := elementsSlowly(text)
		if err == nil {
			require.True(t, valid, "%q was read", text)
			require.Len(t, list, len(elements))
		} else {
			var broken *BrokenError
			require.ErrorAs(t, err, &broken)
			require.NotEmpty(t, broken.Reason)
		}
		for i, r := range list {
			require.Positive(t, r.fields.Number(FieldSeq))
			if r.p == nil {
				require.True(t, r.fields.Has(FieldSeq) && r.fields.Has(FieldOp))
			}
			if !valid {
				continue // what was read before the fault was answered already
			}
			want, slow := decodeSlowly(elements[i], sessionFields)
			if r.p == nil {
				require.NoError(t, slow, "%s", elements[i])
				require.Equal(t, *want, r.fields)
				require.Zero(t, r.fields.given&^(operationRows[r.op].fields|1<<FieldSeq|1<<FieldOp))
			}
		}
		if err != nil && valid && len(elements) > len(list) && len(list) < SessionRequests {
			// What ends a message although it is valid JSON is a request without a seq.
			var seq struct {
				Seq json.RawMessage `json:"seq"`
			}
			if json.Unmarshal(elements[len(list)], &seq) == nil {
				n, length := scanNumber(seq.Seq)
				readable := length > 0 && length == len(seq.Seq) && new(Fields).setNumber(FieldSeq, n)
				require.False(t, readable, "%q could be answered: %v", elements[len(list)], err)
			}
		}
	})
}

// elementsSlowly parts a message by encoding/json.
func elementsSlowly(text []byte) (elements []json.RawMessage, valid bool) {
	if !json.Valid(text) {
		return nil, false
	}
	if strings.HasPrefix(strings.TrimLeft(string(text), " \t\r\n"), "[") {
		err := json.Unmarshal(text, &elements)
		return elements, err == nil && len(elements) > 0
	}
	return []json.RawMessage{text}, true
}

func TestBrokenErrorsSayWhatIsWrong(t *testing.T) {
	_, err := readAll([]byte(`[{"seq":1,"op":"keepalive"} {"seq":2,"op":"keepalive"}]`))
	var broken *BrokenError
	require.ErrorAs(t, err, &broken)
	require.Contains(t, broken.Reason, `{"seq":2`)
}
