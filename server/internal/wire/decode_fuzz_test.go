package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// FuzzDecode holds the decoder against one that is slow, and made from the standard library in another way.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` {"resource":"r","owner":"o","expire":null} `, `{"resource":"r","owner":"o","expire":4.35,"wait":1e2,"id":"i","mode":"shared","note":""}`,
		`{"resource":"\ud83d\ude00","limit":3.0,"token":9007199254740991}`, `{"note":"\ud800"}`, `{"expire":1e-400}`, `{"expire":NaN}`, `{"wait":-0}`,
		`{"owner":"a","own\u0065r":"b"}`, `{"a":1}`, `{"note":"\\ud800"}`, `{"expire":12345678901234567890123456789e-20}`, `{} {}`, "{\"note\":\"\xff\"}",
		`{"limit":1000000.000000000000000000000001}`, `{"mode":"exclusive","mode":null}`, `[{}]`, `{"note":"\u0000\b\/"}`, "{\"resource\":\"\u0085\"}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		want, slow := decodeSlowly(body, all)
		before := bytes.Clone(body)
		got, fast := decodeAll(body)
		require.Equal(t, before, body, "the body was changed")
		if slow != nil {
			require.NotNil(t, fast, "taken, but: %v", slow)
			require.NotEmpty(t, fast.Field)
			return
		}
		require.Nil(t, fast)
		require.Equal(t, want, got)
	})
}

// decodeSlowly does what the decoder does, but for what it says of errors.
func decodeSlowly(body []byte, allowed fieldSet) (*Fields, error) {
	f := &Fields{}
	if !utf8.Valid(body) || !json.Valid(body) || !pairedSurrogates(body) {
		return f, errors.New("no JSON in UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if first, err := d.Token(); err != nil || first != json.Delim('{') {
		return f, fmt.Errorf("no object: %v, %w", first, err)
	}
	seen := map[string]bool{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return f, err
		}
		key := name.(string)
		if seen[key] {
			return f, errors.New("repeated: " + key)
		}
		seen[key] = true
		value, err := d.Token()
		if err != nil {
			return f, err
		}
		if err := f.setSlowly(key, value, allowed); err != nil {
			return f, err
		}
	}
	if _, err := d.Token(); err != nil {
		return f, err
	}
	if _, err := d.Token(); err != io.EOF {
		return f, errors.New("trailing data")
	}
	return f, nil
}

func (f *Fields) setSlowly(key string, value json.Token, allowed fieldSet) error {
	wrong := fmt.Errorf("%s: %v", key, value)
	s, isString := value.(string)
	n, isNumber := value.(json.Number)
	name := func(most int) bool {
		return isString && s != "" && len(s) <= most && strings.IndexFunc(s, unicode.IsControl) < 0
	}
	const most = 10 * 365 * 24 * time.Hour
	which, known := map[string]Field{
		"resource": FieldResource, "owner": FieldOwner, "id": FieldID, "note": FieldNote, "mode": FieldMode,
		"expire": FieldExpire, "wait": FieldWait, "limit": FieldLimit, "token": FieldToken, "seq": FieldSeq, "op": FieldOp,
	}[key]
	if !known || !allowed.has(which) {
		return wrong
	}
	if value == nil {
		return nil
	}
	ok := false
	switch which {
	case FieldResource:
		ok, f.text[which] = name(512), s
	case FieldOwner:
		ok, f.text[which] = name(256), s
	case FieldID:
		ok, f.text[which] = isString && s != "" && len(s) <= 64, s
	case FieldNote:
		ok, f.text[which] = isString && len(s) <= 1024, s
	case FieldOp:
		f.number[which] = int64(slices.Index([]string{"acquire", "release", "renew", "show", "keepalive"}, s))
		ok = isString && f.number[which] >= 0
	case FieldMode:
		ok = s == "exclusive" || s == "shared"
		if s == "shared" {
			f.number[which] = 1
		}
	case FieldExpire, FieldWait:
		if isNumber {
			sign, d := ceilSlowly(n.String(), most)
			if which == FieldWait {
				d, ok = min(d, most), sign >= 0
			} else {
				ok = sign > 0 && d <= most
			}
			f.number[which] = d.Milliseconds()
		}
	default:
		if isNumber {
			r, small := rational(n.String())
			if ok = small && r.IsInt() && r.Sign() > 0 && r.Num().IsInt64(); ok {
				f.number[which] = r.Num().Int64()
				ok = f.number[which] < 1<<53 && (which != FieldLimit || f.number[which] <= 1_000_000)
			}
		}
	}
	if !ok {
		return wrong
	}
	f.given |= 1 << which
	return nil
}

// ceilSlowly returns the sign of a number of seconds, and the seconds rounded up to 1 ms; more than most where it is more.
func ceilSlowly(n string, most time.Duration) (sign int, d time.Duration) {
	r, small := rational(n)
	if !small {
		return r.Sign(), most + 1
	}
	ms := new(big.Rat).Mul(r, big.NewRat(1000, 1))
	whole := new(big.Int).Quo(ms.Num(), ms.Denom())
	if !ms.IsInt() && r.Sign() > 0 {
		whole.Add(whole, big.NewInt(1))
	}
	if whole.Cmp(big.NewInt(most.Milliseconds())) > 0 {
		return r.Sign(), most + 1
	}
	return r.Sign(), time.Duration(whole.Int64()) * time.Millisecond
}

// rational returns a number exactly, and false where it is too large to matter how large. One too small becomes a small one.
func rational(n string) (r *big.Rat, small bool) {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(n), "e")
	r, _ = new(big.Rat).SetString(mantissa)
	if exponent == "" || r.Sign() == 0 {
		return r, true
	}
	endless := 2000 + len(n)
	e, err := strconv.Atoi(exponent)
	switch {
	case strings.HasPrefix(exponent, "-") && (err != nil || e < -endless):
		return new(big.Rat).SetFrac64(int64(r.Sign()), 1_000_000_000), true
	case err != nil || e > endless:
		return r, false
	}
	power := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(e, -e))), nil))
	if e < 0 {
		power.Inv(power)
	}
	return r.Mul(r, power), true
}

var escapes = regexp.MustCompile(`\\(u[0-9a-fA-F]{4}|.)`)

// pairedSurrogates tells whether every escaped surrogate has its other half right behind it.
func pairedSurrogates(body []byte) bool {
	highEnds := -1
	for _, at := range escapes.FindAllIndex(body, -1) {
		code := int64(0)
		if at[1]-at[0] == 6 {
			code, _ = strconv.ParseInt(string(body[at[0]+2:at[1]]), 16, 32)
		}
		low := code >= 0xdc00 && code < 0xe000
		if low != (highEnds == at[0]) || (highEnds >= 0 && !low) {
			return false
		}
		highEnds = -1
		if code >= 0xd800 && code < 0xdc00 {
			highEnds = at[1]
		}
	}
	return highEnds < 0
}
