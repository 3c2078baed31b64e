package driver

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Spec is one driver of a driver.yaml.
type Spec struct {
	Name  string `yaml:"name"`
	Build string `yaml:"build"`
	// Sources are what the build is made of besides the driver's own directory: while they stay the same it is not built again.
	Sources       []string       `yaml:"sources"`
	Run           []string       `yaml:"run"`
	KnownFailures []KnownFailure `yaml:"known_failures"`
	// Hidden drivers are no column of the matrix: the deliberately broken one.
	Hidden bool `yaml:"hidden"`

	dir, build string
}

// KnownFailure is a case that a driver is known to fail.
type KnownFailure struct {
	Case      string `yaml:"case"`
	Transport string `yaml:"transport"` // with which it does; with every one, if there is none
	Reason    string `yaml:"reason"`
}

// Discover reads every driver.yaml in the directories below root; what they build goes below builds.
func Discover(root, builds string) ([]*Spec, error) {
	files, err := filepath.Glob(filepath.Join(root, "*", "driver.yaml"))
	if err != nil {
		return nil, err
	}
	var specs []*Spec
	names, places := map[string]string{}, map[string]string{}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var manifest struct {
			Drivers []*Spec `yaml:"drivers"`
		}
		d := yaml.NewDecoder(bytes.NewReader(b))
		d.KnownFields(true)
		if err := d.Decode(&manifest); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, s := range manifest.Drivers {
			if s.Name == "" || len(s.Run) == 0 {
				return nil, fmt.Errorf("%s: a driver needs a name and a run command", file)
			}
			if other := names[s.Name]; other != "" {
				return nil, fmt.Errorf("%s: the name %s is taken by %s", file, s.Name, other)
			}
			for _, k := range s.KnownFailures {
				if k.Case == "" || len(k.Reason) < 10 {
					return nil, fmt.Errorf("%s: a known failure of %s needs a case and a reason", file, s.Name)
				}
			}
			names[s.Name] = file
			s.dir = filepath.Dir(file)
			if command := s.dir + "\n" + s.Build; places[command] == "" {
				places[command] = filepath.Join(builds, s.Name)
			}
			s.build = places[s.dir+"\n"+s.Build]
			specs = append(specs, s)
		}
	}
	return specs, nil
}

// Command is the command line to run, with the places of {dir} and {build} filled in.
func (s *Spec) Command() []string {
	r := strings.NewReplacer("{dir}", s.dir, "{build}", s.build)
	command := make([]string, len(s.Run))
	for i, word := range s.Run {
		command[i] = r.Replace(word)
	}
	return command
}
