package play

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var reference = regexp.MustCompile(`\$\{([^}]+)\}`)

// fill replaces ${name.field} in every text of v. A text that is one reference becomes the value itself.
func (r *run) fill(v any) (any, error) {
	switch v := v.(type) {
	case string:
		if m := reference.FindStringSubmatch(v); m != nil && m[0] == v {
			return r.lookUp(m[1])
		}
		var failed error
		s := reference.ReplaceAllStringFunc(v, func(ref string) string {
			x, err := r.lookUp(ref[2 : len(ref)-1])
			if err != nil {
				failed = err
			}
			return text(x)
		})
		return s, failed
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			f, err := r.fill(x)
			if err != nil {
				return nil, err
			}
			out[k] = f
		}
		return out, nil
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			f, err := r.fill(x)
			if err != nil {
				return nil, err
			}
			out[i] = f
		}
		return out, nil
	}
	return v, nil
}

func (r *run) lookUp(path string) (any, error) {
	if n, ok := strings.CutPrefix(path, "x*"); ok { // a long text
		times, err := strconv.Atoi(n)
		return strings.Repeat("x", times), err
	}
	parts := strings.Split(path, ".")
	v, ok := r.vars[parts[0]]
	if !ok {
		return nil, fmt.Errorf("nothing is known as ${%s}", parts[0])
	}
	for _, p := range parts[1:] {
		m, isMap := v.(map[string]any)
		if !isMap {
			return nil, fmt.Errorf("${%s}: %s is no object", path, show(v))
		}
		if v, ok = m[p]; !ok {
			return nil, fmt.Errorf("${%s}: %s has no %s", path, show(m), p)
		}
	}
	return v, nil
}
