package docker

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"sync"
)

// stream takes what a container writes without ever holding it up, and gives it to one reader, or whole as a string.
type stream struct {
	mu    sync.Mutex
	more  *sync.Cond
	bytes []byte
	read  int
	over  bool
}

func (s *stream) cond() *sync.Cond {
	if s.more == nil {
		s.more = sync.NewCond(&s.mu)
	}
	return s.more
}

func (s *stream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes = append(s.bytes, p...)
	s.cond().Broadcast()
	return len(p), nil
}

func (s *stream) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.read == len(s.bytes) {
		if s.over {
			return 0, io.EOF
		}
		s.cond().Wait()
	}
	n := copy(p, s.bytes[s.read:])
	s.read += n
	return n, nil
}

// end lets the reader see the end of what was written.
func (s *stream) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.cond().Broadcast()
}

func (s *stream) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.bytes)
}

// readyLine waits for the line that the server prints once it listens. It is all that its standard output has to say.
func readyLine(r io.Reader) error {
	line, err := bufio.NewReader(r).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "lockserver ready on http://") {
		return fmt.Errorf("the server printed no ready line but %q", line)
	}
	return nil
}
