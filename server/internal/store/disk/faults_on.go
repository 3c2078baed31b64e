//go:build faults

package disk

import (
	"os"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
)

// system is the file system of the machine, which cannot make a log durable while the file that FAULT_SYNC names is there.
func system() vfs.FS {
	sign := os.Getenv("FAULT_SYNC")
	if sign == "" {
		return vfs.Default
	}
	return errorfs.Wrap(vfs.Default, errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			if _, err := os.Stat(sign); err == nil && strings.HasSuffix(op.Path, ".log") {
				return syscall.EIO
			}
		default:
		}
		return nil
	}))
}
