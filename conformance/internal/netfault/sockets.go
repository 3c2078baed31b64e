package netfault

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"syscall"
	"time"
)

// bound is a TCP socket bound to a free port of the IPv4 address.
func bound(ip string) (*os.File, int, error) {
	parsed := net.ParseIP(ip).To4()
	if parsed == nil {
		return nil, 0, fmt.Errorf("%q is no IPv4 address", ip)
	}
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		return nil, 0, err
	}
	syscall.CloseOnExec(fd)
	file := os.NewFile(uintptr(fd), "bound")
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte(parsed)}); err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, sa.(*syscall.SockaddrInet4).Port, nil
}

// Deaf is an address where connections are neither accepted nor refused: a listener whose queue is full.
type Deaf struct {
	Closed
	conns []net.Conn
}

// Close ends it.
func (d *Deaf) Close() error {
	var errs []error
	for _, c := range d.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(append(errs, d.file.Close())...)
}

// Closed is an address that refuses connections for as long as it is not closed itself: a bound socket that does not listen.
type Closed struct {
	file *os.File
	addr string
}

// Addr is host:port.
func (c *Closed) Addr() string { return c.addr }

// Close frees the port.
func (c *Closed) Close() error { return c.file.Close() }

// NewClosed reserves a port at which nothing listens.
func NewClosed(listen, reach string) (*Closed, error) {
	file, port, err := bound(listen)
	if err != nil {
		return nil, err
	}
	return &Closed{file: file, addr: net.JoinHostPort(reach, strconv.Itoa(port))}, nil
}

// NewDeaf opens a listener that accepts nothing and fills its queue, so that the kernel leaves further connections without an answer.
func NewDeaf(listen, reach string) (*Deaf, error) {
	file, port, err := bound(listen)
	if err != nil {
		return nil, err
	}
	d := &Deaf{Closed: Closed{file: file, addr: net.JoinHostPort(reach, strconv.Itoa(port))}}
	if err := syscall.Listen(int(file.Fd()), 0); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	own := net.JoinHostPort(listen, strconv.Itoa(port))
	for range 8 {
		c, err := net.DialTimeout("tcp", own, 300*time.Millisecond)
		if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
			return d, nil
		}
		if err != nil {
			return nil, errors.Join(err, d.Close())
		}
		d.conns = append(d.conns, c)
	}
	return nil, errors.Join(errors.New("the listener's queue does not fill up on this system"), d.Close())
}
