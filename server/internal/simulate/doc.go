// Package simulate has the simulator, which is a test: table, engine, store, sessions and servers that replace each other, in one
// goroutine, on a clock, a disk and connections of its own. A seed makes a schedule of operations, commits, faults and time. After every step the invariants
// are checked. A failure prints its seed, which replays it exactly, and the fewest steps that still fail.
package simulate
