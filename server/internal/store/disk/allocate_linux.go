package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// allocate makes n bytes of the file take space on the disk.
func allocate(f *os.File, at, n int64) error {
	for {
		switch err := unix.Fallocate(int(f.Fd()), 0, at, n); {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return writeZeros(f, at, n)
		default:
			return err
		}
	}
}
