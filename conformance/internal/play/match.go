package play

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// match says how got differs from want, "" if it does not. Objects match in part: what want does not name is not looked at.
// An object with one key that begins with $ is a condition.
func match(path string, want, got any) string {
	switch w := want.(type) {
	case map[string]any:
		if name, arg, ok := condition(w); ok {
			return check(path, name, arg, got)
		}
		g, ok := got.(map[string]any)
		if !ok {
			return fmt.Sprintf("%s: want an object, got %s", path, show(got))
		}
		for _, k := range slices.Sorted(maps.Keys(w)) {
			if m, ok := w[k].(map[string]any); ok {
				if _, absent := m["$absent"]; absent {
					if v, there := g[k]; there && v != nil {
						return fmt.Sprintf("%s.%s: want it absent, got %s", path, k, show(v))
					}
					continue
				}
			}
			v, there := g[k]
			if !there {
				return fmt.Sprintf("%s.%s: missing, want %s", path, k, show(w[k]))
			}
			if d := match(path+"."+k, w[k], v); d != "" {
				return d
			}
		}
		return ""
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			return fmt.Sprintf("%s: want the list %s, got %s", path, show(want), show(got))
		}
		for i := range w {
			if d := match(fmt.Sprintf("%s[%d]", path, i), w[i], g[i]); d != "" {
				return d
			}
		}
		return ""
	}
	if equal(want, got) {
		return ""
	}
	return fmt.Sprintf("%s: want %s, got %s", path, show(want), show(got))
}

func condition(m map[string]any) (string, any, bool) {
	if len(m) != 1 {
		return "", nil, false
	}
	for k, v := range m {
		return k, v, strings.HasPrefix(k, "$")
	}
	return "", nil, false
}

func check(path, name string, arg, got any) string {
	no := func(words string) string {
		return fmt.Sprintf("%s: want %s %s, got %s", path, words, show(arg), show(got))
	}
	switch name {
	case "$any":
		return ""
	case "$gt", "$ge", "$lt", "$le":
		g, ok1 := number(got)
		a, ok2 := number(arg)
		if !ok1 || !ok2 {
			return no("a number " + name[1:])
		}
		ok := map[string]bool{"$gt": g > a, "$ge": g >= a, "$lt": g < a, "$le": g <= a}[name]
		if !ok {
			return no(name[1:])
		}
		return ""
	case "$between":
		ends, ok := arg.([]any)
		if !ok || len(ends) != 2 {
			return path + ": $between wants a list of two"
		}
		if d := check(path, "$ge", ends[0], got); d != "" {
			return d
		}
		return check(path, "$le", ends[1], got)
	case "$not":
		if match(path, arg, got) == "" {
			return no("anything but")
		}
		return ""
	case "$one_of":
		for _, a := range asList(arg) {
			if match(path, a, got) == "" {
				return ""
			}
		}
		return no("one of")
	case "$matches":
		re, err := regexp.Compile(fmt.Sprint(arg))
		if err != nil {
			return path + ": " + err.Error()
		}
		if !re.MatchString(text(got)) {
			return no("a text that matches")
		}
		return ""
	case "$size":
		var n int
		switch g := got.(type) {
		case []any:
			n = len(g)
		case map[string]any:
			n = len(g)
		case string:
			n = len(g)
		default:
			return no("something of size")
		}
		return match(path+" (size)", arg, float64(n))
	case "$has": // a list that has, for each of these, at least one element that matches
		for _, a := range asList(arg) {
			if !slices.ContainsFunc(asList(got), func(g any) bool { return match(path, a, g) == "" }) {
				return fmt.Sprintf("%s: want it to have %s, got %s", path, show(a), show(got))
			}
		}
		return ""
	case "$each": // never of nothing
		list, ok := got.([]any)
		if !ok || len(list) == 0 {
			return no("a list, all of whose elements are")
		}
		for i, g := range list {
			if d := match(fmt.Sprintf("%s[%d]", path, i), arg, g); d != "" {
				return d
			}
		}
		return ""
	}
	return path + ": no such condition: " + name
}

func asList(v any) []any {
	if l, ok := v.([]any); ok {
		return l
	}
	return []any{v}
}

func equal(a, b any) bool {
	x, ok1 := number(a)
	y, ok2 := number(b)
	if ok1 && ok2 {
		return x == y
	}
	return reflect.DeepEqual(a, b)
}

func number(v any) (float64, bool) {
	switch n := v.(type) {
	case int:
		return float64(n), true
	case int64:
		return float64(n), true
	case uint64:
		return float64(n), true
	case float64:
		return n, true
	}
	return 0, false
}

// text is a value within a text.
func text(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	return toJSON(v)
}

// show is a value for people, who do not read on for ever.
func show(v any) string { return cut(toJSON(v)) }

func toJSON(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Sprint(v)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func cut(s string) string {
	if len(s) > 600 {
		return s[:600] + "…"
	}
	return s
}
