package lockserver

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

var plainAnswers = map[string]reply{
	`{"seq":7,"status":200,"resource":"é","owner":"o","id":"i","token":9007199254740991,"mode":"exclusive","limit":null,"expires_in":29.9995,"waited":0.25}`: &grantAnswer{},
	`{"resource":"r","owner":"o","id":"i","token":1,"mode":null,"limit":3,"expires_in":null,"waited":0}` + "\n":                                              &grantAnswer{},
	`{"seq":7,"status":200,"resource":"r","owner":"o","token":1,"outcome":"released"}`:                                                                       &releaseAnswer{},
	`{"resource":"r","owner":"o","token":null,"outcome":"cancelled"}` + "\n":                                                                                 &releaseAnswer{},
}

func TestTheAnswersOfServersArePlain(t *testing.T) {
	for body, reply := range plainAnswers {
		require.True(t, reply.(plainReply).readPlain([]byte(body)), "%s", body)
	}
}

func TestNamesInAnotherCaseAreOthers(t *testing.T) {
	for body, token := range map[string]int64{
		`{"Token":7}`:                              0,
		`{"to\u212aen":7}`:                         0,
		`{"TOKEN":7,"token":8,"Token":9}`:          8,
		`{"owner":"a\"A\":1","token":8 }`:          8,
		`{"holders":[{"Token":7}],"token":8}`:      8,
		`{"token":9007199254740991,"Big":[1e400]}`: 9007199254740991,
	} {
		var got grantAnswer
		require.NoError(t, decode([]byte(body), &got), "%s", body)
		require.Equal(t, token, got.Token, "%s", body)
	}
}

// What is decoded here is what encoding/json would have made of it, and nothing is touched where it is left to that.
func FuzzAnswers(f *testing.F) {
	for body := range plainAnswers {
		f.Add([]byte(body))
	}
	for _, body := range []string{
		``, `{`, `{}`, `{"token":1`, `{"token":1,}`, `{"token":01}`, `{"token":1.}`, `{"token":1.5}`, `{"token":-1}`, `{"token":1e3}`, `{"token":1}}`,
		`{"token":99999999999999999999}`, `{"token":"1"}`, `{"Token":2}`, `{"token":1,"token":2}`, `{"token":1,"token":null}`, `{"expires_in":1,"expires_in":null}`,
		`{"expires_in":null,"expires_in":1}`, `{"waited":null}`, `{"outcome":"rel\u0065ased"}`, `{"outcome":null}`, "{\"owner\":\"\xff\",\"token\":1}", `{"owner":"` + "\n" + `"}`,
		`{"token":1} x`, ` {"token":1}`, `{"token" :1}`, `{"seq":[1],"token":1}`, `{"owner":"a"b"}`, `{"":1}`, `{"token":nullx}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for name, of := range map[string]func() reply{
			"grant":    func() reply { return newGrant() },
			"no lease": func() reply { return &grantAnswer{} },
			"release":  func() reply { return &releaseAnswer{} },
		} {
			got, want := of(), of()
			if got.(plainReply).readPlain(body) {
				require.NoError(t, json.Unmarshal(body, want), "%s", name)
			}
			require.Equal(t, members(want), members(got), "%s", name)
		}
	})
}

// members returns what a reply says, wherever it keeps that.
func members(r reply) any {
	g, ok := r.(*grantAnswer)
	if !ok {
		return r
	}
	if g.ExpiresIn != nil {
		expiresIn := *g.ExpiresIn
		g.ExpiresIn = &expiresIn
	}
	g.seconds = 0
	return *g
}

// What is cut out quickly is what looking at every byte would cut out.
func FuzzObjectLength(f *testing.F) {
	for _, text := range []string{``, `{`, `{}`, `{"a":1},{"b":2}]`, `{"a":"}"}`, `{"a":"\\"}"}`, `{"a":{}}`, `{"a":[1]}`, `{"a":"{}"}`, `}`, `"}"`, `{"a}`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if n := plainLength(text); n > 0 {
			require.Equal(t, nestedLength(text), n)
		}
	})
}
