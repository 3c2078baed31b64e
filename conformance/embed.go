// Package conformance has the cases that prove that every SDK handles locks the same way. README.md says how to play them.
package conformance

import "embed"

// Files are the cases with their schemas, and the contract's table.
//
//go:embed cases/*.yaml contract.json case.schema.json protocol.schema.json
var Files embed.FS
