// Package suite plays the cases that are asked for, against the drivers that are asked for, where it is asked to.
package suite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/lockserver/lockserver/conformance"
	"github.com/lockserver/lockserver/conformance/internal/cases"
	"github.com/lockserver/lockserver/conformance/internal/contract"
	"github.com/lockserver/lockserver/conformance/internal/driver"
	"github.com/lockserver/lockserver/conformance/internal/place"
	"github.com/lockserver/lockserver/conformance/internal/place/cluster"
	"github.com/lockserver/lockserver/conformance/internal/place/docker"
	"github.com/lockserver/lockserver/conformance/internal/place/local"
	"github.com/lockserver/lockserver/conformance/internal/play"
	"github.com/lockserver/lockserver/conformance/internal/report"
)

// Options say what is played. One of Command, Image and Drivers says against what.
type Options struct {
	Command   []string // a driver's
	Image     string   // a driver's, in Docker
	Drivers   string   // a directory of drivers, each with its driver.yaml; its cases on the wire are played too
	Names     []string // of Drivers, and "wire"; all of them without it
	Cases     []string // what ids begin with; all without it
	Transport string   // session or http; all without it
	Docker    bool     // in containers, not as processes of this machine
	Server    string   // the binary, for processes of this machine
	Cluster   bool     // each server is a cluster, reached through a stand-by
	Etcd      string   // the binary of its etcd, for processes of this machine
	Parallel  int      // so many cases at once
	Tolerance time.Duration
}

// Usual are the options that nobody has to think about.
func Usual() Options { return Options{Parallel: 16, Tolerance: 2 * time.Second} }

// Cases are the cases whose ids begin with one of the prefixes; all, if there is no prefix.
func Cases(prefixes []string) ([]*cases.Case, error) {
	all, err := cases.Load(conformance.Files)
	some := slices.DeleteFunc(all, func(c *cases.Case) bool {
		return len(prefixes) > 0 && !slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(c.ID, p) })
	})
	if err == nil && len(some) == 0 {
		err = fmt.Errorf("no case's id begins with %s", strings.Join(prefixes, " or "))
	}
	return some, err
}

// Run plays, and gives the report also where it gives an error that is no case's.
func Run(ctx context.Context, o Options) (rep *report.Report, err error) {
	m := &Matrix{Parallel: o.Parallel, Transport: o.Transport, Cluster: o.Cluster}
	if m.Cases, err = Cases(o.Cases); err != nil {
		return nil, err
	}
	switch {
	case len(o.Command) > 0 && !o.Docker && o.Image == "" && o.Drivers == "":
		m.Drivers = []Entry{{DriverSpec: place.DriverSpec{Name: "driver", Command: o.Command}}}
	case o.Image != "" && o.Docker && len(o.Command) == 0 && o.Drivers == "":
		m.Drivers = []Entry{{DriverSpec: place.DriverSpec{Name: "driver", Image: o.Image}}}
	case o.Drivers != "" && len(o.Command) == 0 && o.Image == "":
		var unlock func() error
		if unlock, err = o.build(ctx, m); err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, unlock()) }()
	default:
		return nil, errors.New("say what to test: the command of a driver, or the image of one in Docker, or a directory of drivers")
	}
	home, err := o.place(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, home.Close()) }()
	if m.Stage, err = NewStage(ctx, home); err != nil {
		return nil, err
	}
	shared := m.Stage.Shared
	defer func() { err = errors.Join(err, shared.Close()) }()
	m.Stage.Tolerance = o.Tolerance
	rep, err = m.Play(ctx)
	if c, ok := shared.(place.Cluster); ok {
		err = errors.Join(err, c.StandsBy(ctx))
	}
	return rep, err
}

// place is where it is played.
func (o Options) place(ctx context.Context) (home place.Place, err error) {
	if o.Docker {
		home, err = docker.New()
	} else {
		var here *local.Place
		if here, err = local.New(o.Server); err == nil {
			here.EtcdBinary, home = o.Etcd, here
		}
	}
	if err != nil || !o.Cluster {
		return home, err
	}
	clusters, err := cluster.New(ctx, home)
	if err != nil {
		return nil, errors.Join(err, home.Close())
	}
	return clusters, nil
}

// build finds the drivers of a directory, and builds them where they run as processes.
func (o Options) build(ctx context.Context, m *Matrix) (unlock func() error, err error) {
	all, builds, err := Drivers(o.Drivers)
	if err != nil {
		return nil, err
	}
	wanted := func(name string) bool { return len(o.Names) == 0 || slices.Contains(o.Names, name) }
	known := []string{Wire}
	var chosen []*driver.Spec
	for _, s := range all {
		known = append(known, s.Name)
		if !s.Hidden && wanted(s.Name) {
			chosen = append(chosen, s)
			m.Drivers = append(m.Drivers, Entry{DriverSpec: place.DriverSpec{Name: s.Name, Command: s.Command()}, KnownFailures: s.KnownFailures})
		}
	}
	for _, n := range o.Names {
		if !slices.Contains(known, n) {
			return nil, fmt.Errorf("there is no driver %s; there are %s", n, strings.Join(known, ", "))
		}
	}
	m.Wire = wanted(Wire)
	if o.Docker {
		return func() error { return nil }, nil
	}
	if unlock, err = driver.Lock(ctx, builds); err != nil {
		return nil, err
	}
	built, err := driver.Lock(ctx, driver.SDKs(builds))
	if err != nil {
		return nil, errors.Join(err, unlock())
	}
	if err := errors.Join(driver.Build(ctx, chosen), built()); err != nil {
		return nil, errors.Join(err, unlock())
	}
	return unlock, nil
}

// Drivers are the drivers of a directory, and where they are built.
func Drivers(dir string) (all []*driver.Spec, builds string, err error) {
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, "", err
	}
	builds = filepath.Join(dir, "..", ".build")
	all, err = driver.Discover(dir, builds)
	return all, builds, err
}

// NewStage starts the server of the cases that need none of their own, which is closed by the caller.
func NewStage(ctx context.Context, home place.Place) (*play.Stage, error) {
	schema, err := driver.LoadSchema(conformance.Files)
	if err != nil {
		return nil, err
	}
	var table contract.Contract
	b, err := fs.ReadFile(conformance.Files, "contract.json")
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, &table); err != nil {
		return nil, err
	}
	usual, secret := Usual(), play.NewSecret()
	stage := &play.Stage{Place: home, Schema: schema, Codes: map[string]bool{}, Tolerance: usual.Tolerance, Patience: 20 * time.Second, SharedSecret: secret}
	for _, c := range table.Codes {
		stage.Codes[c.Code] = true
	}
	stage.Shared, err = home.Server(ctx, place.ServerSpec{Name: "shared", Secret: secret})
	if err != nil {
		return nil, err
	}
	go stage.Stalls.Watch(ctx)
	return stage, nil
}
