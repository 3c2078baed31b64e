//go:build docker

package conformance_test

func init() { inDocker = true }
