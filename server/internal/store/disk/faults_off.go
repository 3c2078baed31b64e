//go:build !faults

package disk

import "github.com/cockroachdb/pebble/v2/vfs"

// system is the file system of the machine.
func system() vfs.FS { return vfs.Default }
