package config

import (
	"errors"
	"fmt"
	"io"
	"os"

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
	etcdPasswordFile := ""
	var problems []error
	for _, g := range table {
		for _, s := range g.settings {
			value := lookup(&s)
			if s.flag == etcdPasswordFileFlag {
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
		problems = append(problems, loadSecrets(o, src.Dir)...)
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

func readAtMost(path string, most int64) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, most))
	return string(content), err
}
