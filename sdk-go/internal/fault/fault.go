// Package fault has the points at which an SDK built with the tag faults can be told to be wrong, one fault at a time, so that the
// conformance suite is seen to catch it. In any other build all of them are false constants, which the compiler leaves out.
package fault
