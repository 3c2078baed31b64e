//go:build !unix

package app

import "log/slog"

// connectionLimit returns the limit as it is, since this system does not limit open files.
func connectionLimit(wanted int, _ *slog.Logger) int { return wanted }
