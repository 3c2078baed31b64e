package journal

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/lockserver/lockserver/server/internal/wire"
)

// Events returns the last events in the files, at most so many, the newest at the end. What is no event is passed over. It must be called
// before anything is written.
func (j *Journal) Events(most int) ([]wire.Event, error) {
	if most == 0 {
		return nil, nil
	}
	var files [][]wire.Event // the newest first
	found := 0
	for n := 0; n < j.cfg.Files && found < most; n++ {
		f, err := os.Open(j.name(n))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return nil, err
		}
		events, err := read(f, most-found)
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, err
		}
		files, found = append(files, events), found+len(events)
	}
	all := make([]wire.Event, 0, found)
	for _, events := range slices.Backward(files) {
		all = append(all, events...)
	}
	return all, nil
}

// read returns the last events of a file, at most so many.
func read(f io.Reader, most int) ([]wire.Event, error) {
	var last []wire.Event
	lines := bufio.NewReaderSize(f, 64<<10)
	for {
		text, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return last[max(0, len(last)-most):], nil
		}
		if err != nil {
			return nil, err
		}
		if e, ok := wire.ParseEvent(text); ok {
			if len(last) >= 2*most {
				last = append(last[:0], last[len(last)-most:]...)
			}
			last = append(last, e)
		}
	}
}
