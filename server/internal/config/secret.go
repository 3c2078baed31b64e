package config

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
)

const (
	strongSecret = 16   // characters; fewer are warned of
	maxSecret    = 1024 // characters

	howToMakeSecret = "make one: echo LOCKSERVER_SECRET=$(openssl rand -hex 32) >> .env"
)

// Secret is a string that shows itself only when asked by name: never by fmt, a log or JSON.
type Secret struct{ value string }

// NewSecret wraps value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return s.value }

// IsSet tells whether there is a secret.
func (s Secret) IsSet() bool { return s.value != "" }

// Format hides the secret from every verb of fmt.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText hides the secret from encoders, slog's among them.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s Secret) String() string {
	if s.value == "" {
		return "(none)"
	}
	return "(hidden)"
}

// problem says what is wrong with the secret's characters, without showing them; "" for nothing.
func (s Secret) problem() string {
	const allowed = "allowed: 1 to 1024 printable ASCII characters, no space at either end"
	if len(s.value) > maxSecret {
		return fmt.Sprintf("the value has %d characters; %s", len(s.value), allowed)
	}
	for i := range len(s.value) {
		if c := s.value[i]; c < ' ' || c > '~' {
			return fmt.Sprintf("character %d of the value is not printable ASCII; %s", i+1, allowed)
		}
	}
	if strings.TrimSpace(s.value) != s.value {
		return "the value begins or ends with a space; " + allowed
	}
	return ""
}

// weakness says why the secret is easily guessed; "" if it is not known to be.
func (s Secret) weakness() string {
	if wellKnown(s.value) {
		return "is a well-known one"
	}
	if len(s.value) < strongSecret {
		return fmt.Sprintf("has only %d characters (%d or more are safer)", len(s.value), strongSecret)
	}
	return ""
}

// wellKnown tells the words that people put where a secret belongs, also doubled, or with digits and signs around them.
func wellKnown(value string) bool {
	letters := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, strings.ToLower(value))
	half := letters[:len(letters)/2]
	if half+half == letters {
		letters = half
	}
	return slices.Contains([]string{
		"admin", "changeit", "changeme", "default", "demo", "dev", "example", "foobar", "letmein", "lockserver", "lockserversecret",
		"mypassword", "mysecret", "none", "pass", "passwd", "password", "placeholder", "pleasechangeme", "qwerty", "root", "secret",
		"supersecret", "test", "testing", "todo", "topsecret", "yoursecret", "yoursecrethere",
	}, letters)
}

// checkWeakness puts a warning into o for a weak secret, or refuses it where others than this machine can reach the server.
func checkWeakness(o *Options, name string, s Secret) *refusal {
	why := s.weakness()
	if why == "" {
		return nil
	}
	if !isLoopback(o.Bind) {
		return &refusal{
			setting: name,
			problem: fmt.Sprintf("the secret %s, and --bind %s lets other machines reach the server; allowed there: at least %d characters that nobody guesses; %s",
				why, o.Bind, strongSecret, howToMakeSecret),
		}
	}
	o.Warnings = append(o.Warnings, fmt.Sprintf("%s %s; %s", name, why, howToMakeSecret))
	return nil
}

func isLoopback(a netip.Addr) bool { return a.Unmap().IsLoopback() }
