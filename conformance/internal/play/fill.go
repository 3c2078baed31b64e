package play

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/lockserver/lockserver/conformance/internal/cases"
	"github.com/lockserver/lockserver/conformance/internal/netfault"
)

var reference = regexp.MustCompile(`\$\{([^}]+)\}`)

// filled is a copy of v in which every ${name.field} of its texts is replaced. Where any value can stand, a text that is one reference
// becomes the value itself. The steps within a step are left as they are.
func filled[T any](r *run, v T) (T, error) {
	var out T
	return out, r.fill(reflect.ValueOf(&out).Elem(), reflect.ValueOf(&v).Elem())
}

func (r *run) fill(out, in reflect.Value) error {
	switch in.Kind() {
	case reflect.String:
		s, err := r.fillText(in.String())
		out.SetString(s)
		return err
	case reflect.Interface:
		if s, ok := reflect.TypeAssert[string](in); ok {
			if m := reference.FindStringSubmatch(s); m != nil && m[0] == s {
				v, err := r.lookUp(m[1])
				if v != nil {
					out.Set(reflect.ValueOf(v))
				}
				return err
			}
		}
		if in.IsNil() {
			return nil
		}
		v := reflect.New(in.Elem().Type()).Elem()
		err := r.fill(v, in.Elem())
		out.Set(v)
		return err
	case reflect.Pointer:
		if in.IsNil() {
			return nil
		}
		out.Set(reflect.New(in.Type().Elem()))
		return r.fill(out.Elem(), in.Elem())
	case reflect.Struct:
		for i := range in.NumField() {
			if err := r.fill(out.Field(i), in.Field(i)); err != nil {
				return err
			}
		}
		return nil
	case reflect.Map:
		if in.IsNil() {
			return nil
		}
		out.Set(reflect.MakeMap(in.Type()))
		for key, value := range in.Seq2() {
			v := reflect.New(in.Type().Elem()).Elem()
			if err := r.fill(v, value); err != nil {
				return err
			}
			out.SetMapIndex(key, v)
		}
		return nil
	case reflect.Slice:
		if in.IsNil() || in.Type() == reflect.TypeFor[[]cases.Step]() {
			out.Set(in)
			return nil
		}
		out.Set(reflect.MakeSlice(in.Type(), in.Len(), in.Len()))
		for i := range in.Len() {
			if err := r.fill(out.Index(i), in.Index(i)); err != nil {
				return err
			}
		}
		return nil
	}
	out.Set(in)
	return nil
}

func (r *run) fillText(s string) (string, error) {
	var failed error
	s = reference.ReplaceAllStringFunc(s, func(ref string) string {
		v, err := r.lookUp(ref[2 : len(ref)-1])
		if err != nil {
			failed = err
		}
		return text(v)
	})
	return s, failed
}

func (r *run) lookUp(path string) (any, error) {
	if n, ok := strings.CutPrefix(path, "x*"); ok { // a long text
		times, err := strconv.Atoi(n)
		return strings.Repeat("x", times), err
	}
	parts := strings.Split(path, ".")
	v, ok := r.vars[parts[0]]
	if !ok {
		var err error
		if v, err = r.open(parts[0]); err != nil {
			return nil, err
		}
		r.vars[parts[0]] = v
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

// open opens what a case mentions for the first time: the addresses without a server, and the proxy.
func (r *run) open(name string) (v any, err error) {
	var opened interface {
		Addr() string
		Close() error
	}
	listen, reach := r.Place.ProxyHost(false)
	switch name {
	case "closed":
		opened, err = netfault.NewClosed(listen, reach)
	case "deaf":
		opened, err = netfault.NewDeaf(listen, reach)
	case "proxy":
		upstream := r.server.SuiteAddr
		if r.link != nil {
			upstream = r.link.SuiteAddr
		}
		opened, err = netfault.NewTunnel(listen, reach, upstream)
	default:
		err = fmt.Errorf("nothing is known as ${%s}", name)
	}
	if err != nil {
		return nil, err
	}
	r.defers = append(r.defers, opened.Close)
	if name == "proxy" {
		return map[string]any{"addr": opened.Addr(), "user": netfault.TunnelUser, "host": netfault.TunnelHost}, nil
	}
	return opened.Addr(), nil
}
