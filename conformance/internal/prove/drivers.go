package prove

import (
	"context"
	"errors"
	"slices"

	"github.com/lockserver/lockserver/conformance/internal/driver"
	"github.com/lockserver/lockserver/conformance/internal/suite"
)

// sdkDrivers are those that take part: one of each SDK, and of Python's both kinds.
var sdkDrivers = []string{"go", "js-esm", "python-sync", "python-async"}

// Drivers builds the drivers of the SDKs. They stay as they are until unlock.
func Drivers(ctx context.Context, dir string) (specs []*driver.Spec, unlock func() error, err error) {
	all, builds, err := suite.Drivers(dir)
	if err != nil {
		return nil, nil, err
	}
	specs = slices.DeleteFunc(all, func(s *driver.Spec) bool { return !slices.Contains(sdkDrivers, s.Name) })
	if unlock, err = driver.Lock(ctx, builds); err != nil {
		return nil, nil, err
	}
	built, err := driver.Lock(ctx, driver.SDKs(builds))
	if err != nil {
		return nil, nil, errors.Join(err, unlock())
	}
	if err := errors.Join(driver.Build(ctx, specs), built()); err != nil {
		return nil, nil, errors.Join(err, unlock())
	}
	return specs, unlock, nil
}
