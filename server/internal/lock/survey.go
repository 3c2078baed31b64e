package lock

import "time"

// Survey is a look at all locks, for what nobody counts as they change. It stays valid while the table changes between its steps.
type Survey struct {
	Deepest int           // places in the longest queue
	Wait    time.Duration // the longest that somebody waits now
	Hold    time.Duration // the longest that somebody holds a lock now
	Stuck   int           // holders that are stuck now, see Bounds.StuckAfter

	walk *Walk
}

// Survey begins one, which EndSurvey must end.
func (t *Table) Survey() *Survey { return &Survey{walk: t.walk(&Walk{at: t.oldest})} }

// StepSurvey looks at up to budget resources and reports whether it has come to the end.
func (t *Table) StepSurvey(now int64, s *Survey, budget int) (done bool) {
	w := s.walk
	for ; w.at != nil; w.at = w.at.next {
		if budget <= 0 {
			return false
		}
		budget--
		for c := w.at.holders.head; c != nil; c = c.next { // the first has held it longest
			if !c.expired(now) {
				s.Hold = max(s.Hold, time.Duration(now-c.since))
				break
			}
		}
		for c := w.at.holders.head; c != nil && t.stuck(now, c); c = c.next {
			s.Stuck++
			budget--
		}
		if q := w.at.queue; q != nil {
			s.Deepest = max(s.Deepest, q.n)
			c := q.head
			for ; c != nil && !c.present(); c = c.next {
				budget--
			}
			if c != nil {
				s.Wait = max(s.Wait, time.Duration(now-c.since))
			}
		}
	}
	return true
}

// EndSurvey ends one.
func (t *Table) EndSurvey(s *Survey) {
	t.unwalk(s.walk)
	s.walk = nil
}
