//go:build unix

package lockserver

import (
	"errors"
	"net"
	"syscall"
)

// directWriter writes to a connection what that takes at once.
type directWriter struct {
	raw syscall.RawConn
	try func(fd uintptr) bool
	out []byte
	n   int
	err error
}

// newDirectWriter returns nil if there is no connection, or something between it and the network, such as TLS.
func newDirectWriter(to net.Conn) *directWriter {
	socket, ok := to.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return nil
	}
	w := &directWriter{raw: raw}
	w.try = func(fd uintptr) bool {
		w.n, w.err = syscall.Write(int(fd), w.out)
		return true
	}
	return w
}

// write never waits. It returns how much was written.
func (w *directWriter) write(out []byte) (n int, err error) {
	w.out, w.n, w.err = out, 0, nil
	err = w.raw.Write(w.try)
	w.out = nil
	switch {
	case err != nil:
		return 0, err
	case errors.Is(w.err, syscall.EAGAIN) || errors.Is(w.err, syscall.EINTR):
		return 0, nil
	}
	return max(w.n, 0), w.err
}
