package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
)

// ErrHelp is returned by [Load] for `--help`; see [Help].
var ErrHelp = pflag.ErrHelp

// ErrVersion is returned by [Load] for `--version`.
var ErrVersion = errors.New("version asked for")

// Source is where settings come from.
type Source struct {
	Args        []string                         // flags, without the program's name and subcommand
	LookupEnv   func(name string) (string, bool) // the environment
	Dir         string                           // of `.env` and of relative paths; "" is the working directory
	NeedsSecret bool                             // whether a missing secret is an error
}

// refusal is an error about the value of a setting. It never shows a secret.
type refusal struct {
	setting string
	problem string
}

func (r *refusal) Error() string { return r.setting + ": " + r.problem }

// Load reads and checks the settings. Its error names every wrong setting, with its value and what is allowed.
func Load(src Source) (*Options, error) {
	table := groups()
	given, err := parseFlags(src.Args, table)
	if err != nil {
		return nil, err
	}
	dotenv, err := readDotenv(src.Dir)
	if err != nil {
		return nil, err
	}
	lookup := func(s *setting) string {
		if v := given[s.flag]; s.flag != "" && v != "" {
			return v
		}
		if v, _ := src.LookupEnv(s.variable); v != "" {
			return v
		}
		return dotenv[s.variable]
	}

	o := new(Options)
	secretFile, etcdPasswordFile := "", ""
	var problems []error
	for _, g := range table {
		for _, s := range g.settings {
			value := lookup(&s)
			switch s.flag {
			case secretFileFlag:
				secretFile = value
			case etcdPasswordFileFlag:
				etcdPasswordFile = value
			}
			if value == "" {
				value = s.fallback
			}
			if !s.set(o, value) {
				problems = append(problems, &refusal{s.name(), fmt.Sprintf("%q is not allowed; allowed: %s", value, s.allowed)})
			}
		}
	}
	if err := checkTLS(o, src.Dir); err != nil {
		problems = append(problems, err)
	}
	if len(o.Etcd.Endpoints) > 0 && src.NeedsSecret {
		if err := checkEtcd(o, src.Dir, etcdPasswordFile); err != nil {
			problems = append(problems, err)
		}
	}
	if src.NeedsSecret {
		if err := loadSecret(o, src.Dir, secretFile); err != nil {
			problems = append(problems, err)
		} else if o.Bind.IsValid() {
			problems = append(problems, checkSecrets(o)...)
		}
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	return o, nil
}

// parseFlags returns the values of the flags that were given, by name.
func parseFlags(args []string, table []group) (map[string]string, error) {
	flags := pflag.NewFlagSet("lockserver", pflag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	flags.SortFlags = false
	for _, g := range table {
		for _, s := range g.settings {
			if s.flag != "" {
				flags.StringP(s.flag, s.short, "", s.about)
			}
		}
	}
	version := flags.Bool("version", false, "print the version")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, pflag.ErrHelp) {
			return nil, ErrHelp
		}
		return nil, fmt.Errorf("%w; allowed: the flags in lockserver --help", err)
	}
	if *version {
		return nil, ErrVersion
	}
	if flags.NArg() > 0 {
		return nil, fmt.Errorf("argument %q is not allowed; allowed: flags, after one of the commands healthcheck and version, or none", flags.Arg(0))
	}
	given := make(map[string]string)
	flags.Visit(func(f *pflag.Flag) { given[f.Name] = f.Value.String() })
	return given, nil
}

func loadSecret(o *Options, dir, file string) error {
	if file == "" {
		if !o.Secret.IsSet() {
			return &refusal{secretVariable, "there is no secret, and without one anybody could take and free locks; " + howToMakeSecret}
		}
		return nil
	}
	if o.Secret.IsSet() {
		return &refusal{secretVariable, fmt.Sprintf("is set, and so is --secret-file (LOCKSERVER_SECRET_FILE): %q; allowed: one of them", file)}
	}
	path := file
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	// One byte more than the longest allowed line is enough to tell that the file is too long.
	content, err := readAtMost(path, maxSecret+3)
	if err != nil {
		return &refusal{"--secret-file (LOCKSERVER_SECRET_FILE)", fmt.Sprintf("%q cannot be read: %v; allowed: a file with the secret in it", file, err)}
	}
	content = strings.TrimSuffix(strings.TrimSuffix(content, "\n"), "\r")
	if content == "" {
		return &refusal{"--secret-file (LOCKSERVER_SECRET_FILE)", fmt.Sprintf("%q has no secret in it; allowed: a file with the secret in it; %s",
			file, strings.Replace(howToMakeSecret, "echo LOCKSERVER_SECRET=$(openssl rand -hex 32) >> .env", "openssl rand -hex 32 > FILE", 1))}
	}
	o.Secret = NewSecret(content)
	return nil
}

func readAtMost(path string, most int64) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, most))
	return string(content), err
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
