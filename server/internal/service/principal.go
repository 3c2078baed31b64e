package service

import (
	"crypto/sha256"
	"crypto/subtle"

	"github.com/lockserver/lockserver/server/internal/wire"
)

// Principal is who asks.
type Principal struct{ client bool }

// May tells whether the principal may ask for the operation.
func (p Principal) May(op wire.Operation) bool { return p.client || op.Open() }

// secrets are those that make a client. Only their hashes are kept, and hashes are compared: neither the length of a secret nor the
// place of the first difference shows in the time that a check takes.
type secrets [][sha256.Size]byte

func newSecrets(values []string) secrets {
	var s secrets
	for _, v := range values {
		s = append(s, sha256.Sum256([]byte(v)))
	}
	return s
}

// Principal returns who knows this secret. "" is never a secret.
func (s *Service) Principal(secret string) Principal {
	given := sha256.Sum256([]byte(secret))
	found := 0
	for i := range s.secrets {
		found |= subtle.ConstantTimeCompare(s.secrets[i][:], given[:])
	}
	return Principal{client: found == 1}
}
