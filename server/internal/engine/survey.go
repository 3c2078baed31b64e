package engine

import (
	"sync"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
)

const (
	// seldom bounds what surveys cost: after one that took a time, there is none for so many times as long,
	seldom = 50
	// unless it had no more steps than this, which take less than a millisecond.
	fewSteps = 16
)

// survey is the newest one.
type survey struct {
	mu    sync.Mutex
	found lock.Survey
	next  time.Time // none begins before
}

// Survey looks at all locks, and lets other operations in between. If there are very many, it returns what it found not long ago.
func (e *Engine) Survey() lock.Survey {
	e.survey.mu.Lock()
	defer e.survey.mu.Unlock()
	began := e.host.Now()
	if began.Before(e.survey.next) {
		return e.survey.found
	}
	var s *lock.Survey
	steps := 0
	for more := true; more; e.host.Yield() {
		more = false
		steps++
		e.do(lock.Reply{}, func(now int64) {
			if s == nil {
				s = e.table.Survey()
			}
			if more = !e.table.StepSurvey(now, s, walkBudget); !more {
				e.table.EndSurvey(s)
			}
		})
	}
	if s != nil {
		e.survey.found = *s
	}
	if steps > fewSteps {
		e.survey.next = e.host.Now().Add(seldom * e.host.Since(began))
	}
	return e.survey.found
}
