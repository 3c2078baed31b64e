package prove

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Broken is a deliberate fault of the server, and the promise that it breaks.
type Broken struct {
	Fault   string `yaml:"fault"`
	Says    string `yaml:"says"`
	Promise string `yaml:"promise"` // a regular expression
	Cluster bool   `yaml:"cluster"` // it shows only there
	Soak    bool   `yaml:"soak"`    // it shows only in a soak, as one of the measures that the promise says
	Edits   []struct {
		File string `yaml:"file"`
		Old  string `yaml:"old"`
		New  string `yaml:"new"`
	} `yaml:"edits"`
}

// ReadBroken reads the faults of a file.
func ReadBroken(file string) ([]Broken, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var doc struct {
		Faults []Broken `yaml:"faults"`
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&doc); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return doc.Faults, nil
}

// BuildWith builds the server into dir, with the faults of the file if one is chosen.
func BuildWith(ctx context.Context, server, dir, file, fault string) (binary string, err error) {
	if fault == "" {
		return Build(ctx, server, dir)
	}
	all, err := ReadBroken(file)
	if err != nil {
		return "", err
	}
	if !slices.ContainsFunc(all, func(b Broken) bool { return b.Fault == fault }) {
		return "", fmt.Errorf("%s has no fault %q", file, fault)
	}
	return Build(ctx, server, dir, all...)
}

const faultPackage = `import "github.com/lockserver/lockserver/server/internal/fault"`

// Build builds the server of the directory into dir, with faults that can be chosen but are not, and those of the list besides.
func Build(ctx context.Context, server, dir string, broken ...Broken) (binary string, err error) {
	if server, err = filepath.Abs(server); err != nil {
		return "", err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	edited := map[string]string{}
	for _, b := range broken {
		for _, e := range b.Edits {
			path := filepath.Join(server, e.File)
			text, begun := edited[path]
			if !begun {
				read, err := os.ReadFile(path)
				if err != nil {
					return "", err
				}
				if text = string(read); !strings.Contains(text, "/internal/fault\"") {
					line := text[strings.Index(text, "\npackage ")+1:]
					line, _, _ = strings.Cut(line, "\n")
					text = strings.Replace(text, line+"\n", line+"\n\n"+faultPackage+"\n", 1)
				}
			}
			// The file's indentation is tabs, that of the list is spaces.
			old := strings.ReplaceAll(e.Old, "  ", "\t")
			if strings.Count(text, old) != 1 {
				return "", fmt.Errorf("fault %s: %s does not have once: %s", b.Fault, e.File, e.Old)
			}
			edited[path] = strings.Replace(text, old, strings.ReplaceAll(e.New, "  ", "\t"), 1)
		}
	}
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	for path, text := range edited {
		formatted, err := format.Source([]byte(text))
		if err != nil {
			return "", fmt.Errorf("%s with its faults: %w", path, err)
		}
		into := filepath.Join(dir, fmt.Sprintf("overlay-%d.go", len(overlay.Replace)))
		if err := os.WriteFile(into, formatted, 0o600); err != nil {
			return "", err
		}
		overlay.Replace[path] = into
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return "", err
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, text, 0o600); err != nil {
		return "", err
	}
	binary = filepath.Join(dir, "lockserver")
	return binary, goBuild(ctx, server, "-tags=faults", "-overlay="+list, "-o", binary, "./cmd/lockserver")
}

func goBuild(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"build", "-C", dir}, args...)...)
	cmd.Env = append(os.Environ(), "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build in %s: %w\n%s", dir, err, out)
	}
	return nil
}
