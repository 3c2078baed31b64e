package service

import (
	"crypto/sha256"
	"crypto/subtle"

	"github.com/lockserver/lockserver/server/internal/wire"
)

// secrets holds the hashes of the accepted secrets. Comparing hashes keeps the time of a check independent of the length of a secret
// and of where it first differs.
type secrets [][sha256.Size]byte

func newSecrets(values []string) secrets {
	var s secrets
	for _, v := range values {
		s = append(s, sha256.Sum256([]byte(v)))
	}
	return s
}

// SetSecrets changes which secrets are accepted. Requests and sessions that were accepted before go on.
func (s *Service) SetSecrets(values []string) {
	next := newSecrets(values)
	s.secrets.Store(&next)
}

// Admit returns why whoever shows this secret, from there, may not ask for op, or nil. An empty secret is none, and never accepted.
func (s *Service) Admit(op wire.Operation, secret string, from *Origin) *wire.Problem {
	switch {
	case op.Open():
		return nil
	case secret == "":
		return unauthorized()
	case s.guesses != nil:
		return s.guesses.admit(s.accepts(secret), from)
	case !s.accepts(secret):
		return unauthorized()
	}
	return nil
}

func unauthorized() *wire.Problem {
	return &wire.Problem{Code: wire.Unauthorized, Detail: "the secret is missing or wrong; send it as X-LOCKSERVER-SECRET, or as Authorization: Bearer"}
}

// accepts compares with every secret, whichever fits.
func (s *Service) accepts(secret string) bool {
	given := sha256.Sum256([]byte(secret))
	found := 0
	accepted := *s.secrets.Load()
	for i := range accepted {
		found |= subtle.ConstantTimeCompare(accepted[i][:], given[:])
	}
	return found == 1
}
