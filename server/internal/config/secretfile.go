package config

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
)

// loadSecrets checks the secrets, and reads those that are in files.
func loadSecrets(o *Options, dir string) (problems []error) {
	for _, s := range []struct {
		variable string
		value    Secret
		flag     string
		file     *string
	}{
		{secretVariable, o.Secret, secretFileFlag, &o.SecretFile},
		{previousVariable, o.PreviousSecret, previousFileFlag, &o.PreviousSecretFile},
	} {
		if *s.file == "" {
			continue
		}
		if s.value.IsSet() {
			problems = append(problems, &refusal{s.variable, fmt.Sprintf("is set, and so is %s: %q; allowed: one of them", fileSetting(s.flag), *s.file)})
		}
		if !filepath.IsAbs(*s.file) {
			*s.file = filepath.Join(dir, *s.file)
		}
	}
	if len(problems) > 0 {
		return problems
	}
	if err := o.ReadSecrets(); err != nil {
		return []error{err}
	}
	return nil
}

// ReadSecrets reads the secrets that are in files, again, and checks them. If it fails, it has changed nothing.
func (o *Options) ReadSecrets() error {
	next := *o
	next.Warnings = nil
	if o.SecretFile != "" {
		s, err := readSecret(secretFileFlag, o.SecretFile)
		if err != nil {
			return err
		}
		next.Secret = s
	}
	if !next.Secret.IsSet() {
		return &refusal{secretVariable, "there is no secret, and without one anybody could take and free locks; " + howToMakeSecret}
	}
	if o.PreviousSecretFile != "" {
		s, err := readSecret(previousFileFlag, o.PreviousSecretFile)
		if err != nil && !errors.Is(err, errNoSecret) && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		next.PreviousSecret = s
	}
	if o.Bind.IsValid() {
		if problems := checkSecrets(&next); len(problems) > 0 {
			return errors.Join(problems...)
		}
	}
	o.Secret, o.PreviousSecret = next.Secret, next.PreviousSecret
	o.Warnings = append(o.Warnings, next.Warnings...)
	return nil
}

func fileSetting(flag string) string { return "--" + flag + " (" + variableOf(flag) + ")" }

// errNoSecret means that a file has no secret in it.
var errNoSecret = errors.New("has no secret in it")

func readSecret(flag, file string) (Secret, error) {
	// One byte more than the longest allowed line is enough to tell that the file is too long.
	content, err := readAtMost(file, maxSecret+3)
	if err != nil {
		return Secret{}, fmt.Errorf("%s: %q cannot be read: %w; allowed: a file with the secret in it", fileSetting(flag), file, err)
	}
	content = strings.TrimSuffix(strings.TrimSuffix(content, "\n"), "\r")
	if content == "" {
		return Secret{}, fmt.Errorf("%s: %q %w; allowed: a file with the secret in it; %s", fileSetting(flag), file, errNoSecret,
			strings.Replace(howToMakeSecret, "echo LOCKSERVER_SECRET=$(openssl rand -hex 32) >> .env", "openssl rand -hex 32 > FILE", 1))
	}
	return NewSecret(content), nil
}

func checkSecrets(o *Options) []error {
	var problems []error
	for _, s := range []struct {
		name  string
		value Secret
	}{{secretVariable, o.Secret}, {previousVariable, o.PreviousSecret}} {
		if !s.value.IsSet() {
			continue
		}
		if p := s.value.problem(); p != "" {
			problems = append(problems, &refusal{s.name, p})
		} else if r := checkWeakness(o, s.name, s.value); r != nil {
			problems = append(problems, r)
		}
	}
	return problems
}
