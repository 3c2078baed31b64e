package prove

import (
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/anishathalye/porcupine"
)

// slack is how late something may be that needs the machine to do a little, where nothing else is wrong.
const slack = 3 * time.Second

// judged counts what was checked.
type judged struct{ Ops, Order, HandedOn, Resources int64 }

// verify checks the history of the resources whose names begin so. What is wrong goes to the history's violations; the picture of one that
// fits no order of effects goes into dir.
func (h *history) verify(prefix, dir string, limit time.Duration) (j judged) {
	end := h.now()
	var group sync.WaitGroup
	turn := make(chan struct{}, 2)
	for resource, ops := range h.take(prefix) {
		j.Ops += int64(len(ops))
		j.Resources++
		group.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			wrong := func(promise, what string) { h.violation(promise, resource, what) }
			line := timeline(ops, end, wrong)
			if list := sorted(grants(ops, end, func(string, string) {})); len(list) > 0 {
				rising(list, wrong)
				atomic.AddInt64(&j.Order, int64(fifo(list, wrong)))
				exclusion(list, end, wrong)
				atomic.AddInt64(&j.HandedOn, int64(late(list, h, wrong)))
			}
			switch result, info := porcupine.CheckOperationsVerbose(lock, line, limit); result {
			case porcupine.Illegal:
				path := filepath.Join(dir, resource+".html")
				what := "no order of effects fits what the clients were told; the picture is in " + path
				if err := porcupine.VisualizePath(lock, info, path); err != nil {
					what = fmt.Sprintf("no order of effects fits what the clients were told; no picture: %v", err)
				}
				wrong("linearizable", what)
			case porcupine.Unknown:
				wrong("checked", fmt.Sprintf("%d operations could not be checked within %s", len(line), limit))
			}
		})
	}
	group.Wait()
	return j
}
