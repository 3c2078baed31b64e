//go:build unix

package main

import (
	"encoding/binary"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// watchdog is a second process of lockctl. It ends the command in time where lockctl cannot, because it is stopped or was killed. Lockctl
// tells it on its input until when the command may run, over and over.
type watchdog struct {
	process *os.Process
	orders  *os.File
}

// order is what the watchdog is told. It is shorter than what a pipe takes in one piece.
type order struct {
	Group  int64
	TermAt int64 // nanoseconds since 1970: the clock that both processes share
	KillAt int64
}

func startWatchdog() (*watchdog, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	self, err := ownBinary()
	if err != nil {
		return nil, err
	}
	process, err := os.StartProcess(self, []string{"lockctl", "watchdog"}, &os.ProcAttr{
		Dir: "/", Env: []string{}, Files: []*os.File{read, null, null},
		// In a session of its own, what happens on lockctl's terminal and to its process group is nothing to it.
		Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		write.Close()
		return nil, err
	}
	return &watchdog{process, write}, nil
}

// set replaces what the watchdog was told before.
func (w *watchdog) set(group int, term, kill time.Duration) error {
	const patience = 100 * time.Millisecond // it reads at once, unless it is stopped itself
	now := time.Now()
	if err := w.orders.SetWriteDeadline(now.Add(patience)); err != nil {
		return err
	}
	return binary.Write(w.orders, binary.NativeEndian, order{int64(group), now.Add(term).UnixNano(), now.Add(kill).UnixNano()})
}

// end ends the watchdog and nothing else. It may be called again.
func (w *watchdog) end() {
	// It would take the end of its orders for the death of lockctl, so it goes first.
	_ = w.process.Kill()
	_, _ = w.process.Wait()
	_ = w.orders.Close()
}

// watchdog is what the second process does.
func (t *tool) watchdog() exitCode {
	// Whoever ends a whole service sends these to lockctl too, which then decides.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	orders := readOrders(t.stdin)
	var command *child
	var term, kill deadline
	var terminated bool
	timer := time.NewTimer(lookAgain)
	for {
		select {
		case o, alive := <-orders:
			if !alive {
				if command != nil {
					command.signal(syscall.SIGKILL)
				}
				return exitOK
			}
			command, term, kill, terminated = &child{pid: int(o.Group)}, deadlineAt(o.TermAt), deadlineAt(o.KillAt), false
		case <-timer.C:
		}
		switch {
		case command == nil:
		case kill.left() <= 0:
			command.signal(syscall.SIGKILL)
		case term.left() > 0:
			timer.Reset(min(lookAgain, term.left()))
		default:
			if !terminated {
				terminated = true
				command.terminate()
			}
			timer.Reset(min(lookAgain, kill.left()))
		}
	}
}

// readOrders returns what comes in. It is closed when lockctl is dead.
func readOrders(from io.Reader) <-chan order {
	orders := make(chan order)
	go func() {
		defer close(orders)
		for {
			var o order
			if binary.Read(from, binary.NativeEndian, &o) != nil {
				return
			}
			orders <- o
		}
	}()
	return orders
}

// deadline has come as soon as either clock says so: one may be set, and the other stand still while the machine sleeps.
type deadline struct{ wall, monotonic time.Time }

func deadlineAt(nanoseconds int64) deadline {
	wall := time.Unix(0, nanoseconds)
	return deadline{wall, time.Now().Add(time.Until(wall))}
}

func (d deadline) left() time.Duration { return min(time.Until(d.wall), time.Until(d.monotonic)) }
