package service

import (
	"crypto/sha256"
	"crypto/subtle"

	"github.com/lockserver/lockserver/server/internal/wire"
)

// Principal is who asks.
type Principal struct{ client bool }

// May reports whether the principal may ask for op.
func (p Principal) May(op wire.Operation) bool { return p.client || op.Open() }

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

// Principal returns who knows the secret. An empty one is never accepted.
func (s *Service) Principal(secret string) Principal {
	given := sha256.Sum256([]byte(secret))
	found := 0
	accepted := *s.secrets.Load()
	for i := range accepted {
		found |= subtle.ConstantTimeCompare(accepted[i][:], given[:])
	}
	return Principal{client: found == 1}
}
