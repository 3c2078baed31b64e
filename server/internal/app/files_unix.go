//go:build unix

package app

import (
	"log/slog"
	"syscall"
)

// filesForStore is how many open files are reserved for the store and the rest of the process.
const filesForStore = 512

// connectionLimit lowers the limit to what the process may have open, and logs that. The store would fail if no file were left for it.
func connectionLimit(wanted int, log *slog.Logger) int {
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		log.Warn("limit of open files unknown", "error", err)
		return wanted
	}
	// The Go runtime has already raised the soft limit to the hard one.
	most := int64(min(uint64(files.Cur), 1<<40)) - filesForStore //nolint:unconvert // FreeBSD has an int64 there
	if most >= int64(wanted) {
		return wanted
	}
	most = max(most, 1)
	log.Info("fewer connections than --max-connections: raise the limit of open files (ulimit -n)",
		"max_connections", wanted, "open_files", uint64(files.Cur), "connections", most) //nolint:unconvert // the same
	return int(most)
}
