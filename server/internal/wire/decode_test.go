package wire

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// all are the fields that any body may have.
var all = operationRows[Acquire].fields | operationRows[Release].fields

const maxExpire = 315_360_000 * time.Second

// decodeAll decodes the body of a request that may have every field and needs none.
func decodeAll(body []byte) (*Fields, *Problem) {
	f := &Fields{}
	d := decoder{b: body, allowed: all, fields: f}
	p := d.body()
	return f, p
}

func TestDecodeTakesEveryField(t *testing.T) {
	f, err := decodeAll([]byte(` { "resource" : "r" , "owner":"o","expire":1.5,"max_hold":60,"wait":2e1,"id":"i","mode":"shared","limit":3.0,"note":"n","token":4 } `))
	require.Nil(t, err)
	want := &Fields{given: all}
	want.text[FieldResource], want.text[FieldOwner], want.text[FieldID], want.text[FieldNote] = "r", "o", "i", "n"
	want.number[FieldExpire], want.number[FieldMaxHold], want.number[FieldWait] = 1500, 60_000, 20_000
	want.number[FieldMode], want.number[FieldLimit], want.number[FieldToken] = 1, 3, 4
	require.Equal(t, want, f)
}

func TestDecodeTakesNullForAbsent(t *testing.T) {
	f, err := decodeAll([]byte(`{"resource":null,"owner":null,"expire":null,"max_hold":null,"wait":null,"id":null,"mode":null,"limit":null,"note":null,"token":null}`))
	require.Nil(t, err)
	require.Equal(t, &Fields{}, f)
}

func TestDecodeStrings(t *testing.T) {
	for body, want := range map[string]string{
		`{"note":""}`:                                 "",
		`{"note":"\"\\\/\b\f\n\r\t"}`:                 "\"\\/\b\f\n\r\t",
		`{"note":"\u00e9\ud83d\uDE00\u0000"}`:         "é😀\x00",
		`{"note":"é😀\ufffd"}`:                         "é😀\ufffd",
		`{"\u006eote":"escaped name"}`:                "escaped name",
		`{"note":"` + strings.Repeat("é", 512) + `"}`: strings.Repeat("é", 512),
	} {
		f, err := decodeAll([]byte(body))
		require.Nil(t, err, body)
		require.Equal(t, want, f.Text(FieldNote), body)
	}
}

func TestDecodedStringsAreCopies(t *testing.T) {
	body := []byte(`{"resource":"abc","note":"x\ny"}`)
	f, err := decodeAll(body)
	require.Nil(t, err)
	for i := range body {
		body[i] = '#'
	}
	require.Equal(t, "abc", f.Text(FieldResource))
	require.Equal(t, "x\ny", f.Text(FieldNote))
}

func TestDecodeNumbers(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"4.35":                                4350 * time.Millisecond,
		"4.351":                               4351 * time.Millisecond,
		"0.0000001":                           time.Millisecond,
		"1e-400":                              time.Millisecond,
		"1e-99999999999999999999":             time.Millisecond,
		"0.0010000000000000000000000000001":   2 * time.Millisecond,
		"123456789012345678901234567890e-28":  123*time.Second/10 + 46*time.Millisecond,
		"315360000":                           maxExpire,
		"0.00000031536e15":                    maxExpire,
		"3153600000000000000000000000000e-22": maxExpire,
		"100E-2":                              time.Second,
		"1e+2":                                100 * time.Second,
	} {
		f, err := decodeAll([]byte(`{"expire":` + value + `}`))
		require.Nil(t, err, value)
		require.Equal(t, want, f.Duration(FieldExpire), value)
	}
	for value, want := range map[string]time.Duration{
		"0": 0, "-0": 0, "-0.0e5": 0, "0.25": 250 * time.Millisecond, "1e300": maxExpire,
	} {
		f, err := decodeAll([]byte(`{"wait":` + value + `}`))
		require.Nil(t, err, value)
		require.Equal(t, want, f.Duration(FieldWait), value)
	}
	for value, want := range map[string]int64{"1": 1, "9007199254740991": math.MaxInt64 >> 10, "10.0": 10, "1e3": 1000, "1200e-2": 12} {
		f, err := decodeAll([]byte(`{"token":` + value + `}`))
		require.Nil(t, err, value)
		require.Equal(t, want, f.Number(FieldToken), value)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for _, c := range []struct{ body, field, says string }{
		{``, "body", "is empty"},
		{"  \n", "body", "is empty"},
		{`null`, "body", "begins with null"},
		{`[]`, "body", "begins with []"},
		{`"resource"`, "body", `begins with "resource"`},
		{"\ufeff{}", "body", "begins with"},
		{`{`, "body", "the end of the body"},
		{`{}{}`, "body", "goes on behind the object with {"},
		{`{} x`, "body", "goes on behind the object with x"},
		{`{,}`, "body", "where the name of a field belongs"},
		{`{resource:"r"}`, "body", "where the name of a field belongs"},
		{`{"resource":"r",}`, "body", "where the name of a field belongs"},
		{`{"resource" "r"}`, "resource", `is followed by "r"; allowed: a colon`},
		{`{"resource":"r" "owner":"o"}`, "resource", `is followed by "owner"; allowed: a comma`},
		{`{"resource":"r"`, "resource", "the end of the body"},
		{`{"resource":"r`, "resource", "it does not end"},
		{`{"resource":"r\`, "resource", "it does not end"},
		{`{"resource":`, "resource", "the end of the body"},
		{`{"":1}`, "body", "a field without a name"},
		{`{"expires":3}`, "expires", "is not a field of this request; allowed: the fields resource, owner"},
		{`{"Resource":"r"}`, "Resource", "is not a field"},
		{`{"expires":null}`, "expires", "is not a field"},
		{`{"expire":1,"expire":1}`, "expire", "is repeated"},
		{`{"expire":null,"expire":1}`, "expire", "is repeated"},
		{`{"owner":"a","own\u0065r":"b"}`, "owner", "is repeated"},
		{`{"resource":1}`, "resource", "is 1 (not a string); allowed: a string of 1 to 512 bytes"},
		{`{"resource":""}`, "resource", `is ""`},
		{`{"resource":"` + strings.Repeat("é", 257) + `"}`, "resource", "allowed: a string of 1 to 512 bytes"},
		{`{"resource":"a\u0007"}`, "resource", "without control characters"},
		{`{"resource":"a\u007f"}`, "resource", "without control characters"},
		{`{"resource":"a\u0085"}`, "resource", "without control characters"},
		{"{\"resource\":\"a\nb\"}", "resource", "a control character in it is not escaped"},
		{"{\"resource\":\"a\xffb\"}", "resource", "it is not valid UTF-8"},
		{"{\"note\":\"\xed\xa0\x80\"}", "note", "it is not valid UTF-8"},
		{`{"note":"\ud800"}`, "note", "half of a surrogate pair"},
		{`{"note":"\udc00\ud800"}`, "note", "half of a surrogate pair"},
		{`{"note":"\ud800\u0041"}`, "note", "half of a surrogate pair"},
		{`{"note":"\ud800\u00"}`, "note", "half of a surrogate pair"},
		{`{"note":"\x41"}`, "note", "unknown escape"},
		{`{"note":"\u00g0"}`, "note", "unknown escape"},
		{`{"note":"` + strings.Repeat("n", 1025) + `"}`, "note", "at most 1024 bytes"},
		{`{"owner":"` + strings.Repeat("o", 257) + `"}`, "owner", "1 to 256 bytes"},
		{`{"owner":true}`, "owner", "is true"},
		{`{"id":""}`, "id", "1 to 64 bytes"},
		{`{"id":"` + strings.Repeat("i", 65) + `"}`, "id", "1 to 64 bytes"},
		{`{"id":17}`, "id", "is 17"},
		{`{"mode":"write"}`, "mode", `is "write"; allowed: "exclusive", "shared" or null`},
		{`{"mode":false}`, "mode", "is false"},
		{`{"expire":0}`, "expire", "is 0; allowed: a number of seconds greater than 0"},
		{`{"expire":-0.0}`, "expire", "is -0.0"},
		{`{"expire":-1e-400}`, "expire", "is -1e-400"},
		{`{"expire":315360000.0000001}`, "expire", "at most 315360000"},
		{`{"expire":1e400}`, "expire", "is 1e400"},
		{`{"expire":"30"}`, "expire", `is "30"`},
		{`{"expire":NaN}`, "expire", "is NaN"},
		{`{"expire":Infinity}`, "expire", "is Infinity"},
		{`{"expire":-Infinity}`, "expire", "is -Infinity"},
		{`{"expire":{"s":3}}`, "expire", `is {"s":3`},
		{`{"expire":[3]}`, "expire", "is [3]"},
		{`{"expire":.5}`, "expire", "is .5"},
		{`{"expire":5.}`, "expire", "is 5."},
		{`{"expire":+5}`, "expire", "is +5"},
		{`{"expire":1e}`, "expire", "is 1e"},
		{`{"expire":-}`, "expire", "is -"},
		{`{"expire":007}`, "expire", "is 007"},
		{`{"expire":0x10}`, "expire", "x10"},
		{`{"expire":nul}`, "expire", "is nul"},
		{`{"expire":nulll}`, "expire", "is followed by l"},
		{`{"wait":-0.001}`, "wait", "0 or more"},
		{`{"wait":-1e300}`, "wait", "0 or more"},
		{`{"limit":0}`, "limit", "a whole number from 1 to 1000000"},
		{`{"limit":1000001}`, "limit", "a whole number from 1 to 1000000"},
		{`{"limit":1.5}`, "limit", "is 1.5"},
		{`{"limit":1e-400}`, "limit", "is 1e-400"},
		{`{"token":0}`, "token", "from 1 to 9007199254740991"},
		{`{"token":-5}`, "token", "is -5"},
		{`{"token":9007199254740992}`, "token", "is 9007199254740992"},
		{`{"token":1.00000000000000000000000000001}`, "token", "is 1.0000"},
	} {
		_, err := decodeAll([]byte(c.body))
		require.NotNil(t, err, c.body)
		require.Equal(t, c.field, err.Field, c.body)
		require.Contains(t, err.Detail, c.says, c.body)
		require.Contains(t, err.Detail, "allowed: ", c.body)
	}
}

func TestFieldsOfAnotherRequestAreUnknown(t *testing.T) {
	for _, c := range []struct {
		op    Operation
		field string
	}{{Acquire, "token"}, {Release, "wait"}, {Renew, "note"}} {
		p := new(Fields).DecodeBody(c.op, []byte(`{"`+c.field+`":1}`))
		require.NotNil(t, p)
		require.Equal(t, c.field, p.Field)
	}
}

func TestFieldsTogether(t *testing.T) {
	acquire := func(body string) (lock.Request, *Problem) {
		var f Fields
		if p := f.DecodeBody(Acquire, []byte(body)); p != nil {
			return lock.Request{}, p
		}
		return f.Acquire()
	}
	for body, field := range map[string]string{
		`{"owner":"o"}`:                 "resource",
		`{"resource":"r"}`:              "owner",
		`{"resource":"r","owner":null}`: "owner",
		`{"resource":"r","owner":"o","limit":2,"mode":"shared"}`:    "limit",
		`{"resource":"r","owner":"o","limit":2,"mode":"exclusive"}`: "limit",
	} {
		_, p := acquire(body)
		require.NotNil(t, p, body)
		require.Equal(t, field, p.Field, body)
	}
	for body, want := range map[string]lock.Request{
		`{"resource":"r","owner":"o","limit":2,"mode":null}`:  {Resource: "r", Owner: "o", Mode: lock.Semaphore, Limit: 2},
		`{"resource":"r","owner":"o","mode":"shared"}`:        {Resource: "r", Owner: "o", Mode: lock.Shared},
		`{"resource":"r","owner":"o","mode":"exclusive"}`:     {Resource: "r", Owner: "o", Mode: lock.Exclusive},
		`{"resource":"r","owner":"o","expire":0.5,"wait":70}`: {Resource: "r", Owner: "o", Expire: time.Second / 2, Wait: 70 * time.Second},
	} {
		req, p := acquire(body)
		require.Nil(t, p)
		require.Equal(t, want, req)
	}
	p := new(Fields).DecodeBody(Release, []byte(`{"resource":"r","token":7}`))
	require.NotNil(t, p)
	require.Equal(t, "owner", p.Field)
}

// Whatever people sent by mistake is shown as one line of text, and short.
func TestErrorsCanBeShown(t *testing.T) {
	for _, body := range []string{
		`{"` + strings.Repeat("é", 100) + `":1}`, "{\"a\xff\x01b\":1}", `{"expire":"` + strings.Repeat("9", 10_000) + `"}`, "\x00\x01\x02",
	} {
		_, err := decodeAll([]byte(body))
		require.NotNil(t, err)
		require.Less(t, len(err.Detail), 400)
		require.False(t, hasControl(err.Detail), err.Detail)
		require.Equal(t, err.Detail, strings.ToValidUTF8(err.Detail, "?"))
	}
}
