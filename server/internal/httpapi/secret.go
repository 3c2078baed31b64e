package httpapi

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// secrets are those that are accepted. Only their hashes are kept, and hashes are compared: neither the length of a secret nor the
// place of the first difference shows in the time that a check takes.
type secrets [][sha256.Size]byte

func newSecrets(values []string) secrets {
	var s secrets
	for _, v := range values {
		s = append(s, sha256.Sum256([]byte(v)))
	}
	return s
}

// match tells whether the headers carry one of the secrets.
func (s secrets) match(h http.Header) bool {
	given := sha256.Sum256([]byte(secretIn(h)))
	found := 0
	for i := range s {
		found |= subtle.ConstantTimeCompare(s[i][:], given[:])
	}
	return found == 1
}

// secretIn returns the secret that a request carries; "", which is never accepted, if there is none or more than one.
func secretIn(h http.Header) string {
	if own := h["X-Lockserver-Secret"]; len(own) > 0 {
		if len(own) > 1 {
			return ""
		}
		return own[0]
	}
	const bearer = "bearer "
	auth := h["Authorization"]
	if len(auth) != 1 || len(auth[0]) < len(bearer) || !strings.EqualFold(auth[0][:len(bearer)], bearer) {
		return ""
	}
	return strings.TrimSpace(auth[0][len(bearer):])
}
