package main

import (
	"runtime"
	"strings"
	"time"
)

// leaks names the goroutines of the SDK and of its HTTP client that still run. Those that are ending get a moment for it. (A dot ends the
// name of a package in a stack; without it the driver would count too.)
func leaks() []string {
	for deadline := time.Now().Add(3 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		left := []string{}
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		for stack := range strings.SplitSeq(string(buf), "\n\n") {
			if strings.Contains(stack, "lockserver/sdk-go.") || strings.Contains(stack, "net/http.(*persistConn)") {
				left = append(left, stack)
			}
		}
		if len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}
