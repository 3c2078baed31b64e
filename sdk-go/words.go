package lockserver

import (
	"strconv"
	"time"
)

// inSeconds is a time for people, in three digits or whole seconds.
func inSeconds(d time.Duration) string {
	precision := time.Millisecond
	for limit := time.Second; d >= limit && precision < time.Second; limit *= 10 {
		precision *= 10
	}
	return strconv.FormatFloat(d.Round(precision).Seconds(), 'f', -1, 64) + " s"
}

// roughly is a time for people that pass by: 0.3 s, 12 s.
func roughly(d time.Duration) string {
	if d < 10*time.Second {
		return inSeconds(d.Round(100 * time.Millisecond))
	}
	return inSeconds(d.Round(time.Second))
}
