package config

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
)

const (
	strongSecret = 16   // characters; shorter secrets are weak
	maxSecret    = 1024 // characters

	howToMakeSecret = "make one: echo LOCKSERVER_SECRET=$(openssl rand -hex 32) >> .env"
)

// Secret is a string that fmt, logs and JSON never show.
type Secret struct{ value string }

// NewSecret wraps value.
func NewSecret(value string) Secret { return Secret{value} }

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return s.value }

// IsSet reports whether there is a secret.
func (s Secret) IsSet() bool { return s.value != "" }

// Format hides the secret from every verb of fmt.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// MarshalText hides the secret from encoders, including slog's.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s Secret) String() string {
	if s.value == "" {
		return "(none)"
	}
	return "(hidden)"
}

// problem returns what is wrong with the secret's characters, without showing them, or "".
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

// weakness returns why the secret is easily guessed, or "" if it is not known to be.
func (s Secret) weakness() string {
	if wellKnown(s.value) {
		return "is a well-known one"
	}
	if len(s.value) < strongSecret {
		return fmt.Sprintf("has only %d characters (%d or more are safer)", len(s.value), strongSecret)
	}
	return ""
}

// wellKnown reports whether s is a word that people use in place of a secret, possibly doubled, or with digits and signs around it.
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

// checkWeakness refuses a weak secret if the server can be reached from other machines, and else adds a warning to o.
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
