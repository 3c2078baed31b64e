package simulate_test

// shrink returns a plan with as few steps as it can find that still fails, and how. It tries at most so many runs.
func shrink(p *plan, runs int) (*plan, *violation) {
	best := *p
	_, failed := run(&best, nil)
	if failed == nil {
		return p, nil
	}
	best.steps = best.steps[:min(failed.step+1, len(best.steps))]
	try := func(steps []step) bool {
		if runs == 0 {
			return false
		}
		runs--
		candidate := best
		candidate.steps = steps
		_, v := run(&candidate, nil)
		if v == nil {
			return false
		}
		candidate.steps = steps[:min(v.step+1, len(steps))]
		best, failed = candidate, v
		return true
	}
	try(best.steps)
	for smaller := true; smaller && runs > 0; {
		smaller = false
		for size := max(len(best.steps)/2, 1); size > 0; size /= 2 {
			for at := 0; at < len(best.steps); {
				if try(without(best.steps, at, size)) {
					smaller = true
				} else {
					at += size
				}
			}
		}
	}
	return &best, failed
}

// without leaves out some steps.
func without(steps []step, at, size int) []step {
	rest := append([]step(nil), steps[:at]...)
	return append(rest, steps[min(at+size, len(steps)):]...)
}
