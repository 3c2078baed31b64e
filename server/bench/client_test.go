package bench_test

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"
)

// client speaks HTTP on one connection, with as little work as can be, since it shares the machine with what it measures.
type client struct {
	conn   net.Conn
	reader *bufio.Reader
	out    []byte
	body   []byte
}

func dial(b *testing.B, addr string) *client {
	b.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	must(b, err)
	return &client{conn: conn, reader: bufio.NewReaderSize(conn, 1024)}
}

func (c *client) send(path, format string, args ...any) error {
	c.body = fmt.Appendf(c.body[:0], format, args...)
	c.out = fmt.Appendf(c.out[:0], "POST %s HTTP/1.1\r\nHost: localhost\r\nX-LOCKSERVER-SECRET: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", path, secret, len(c.body))
	c.out = append(c.out, c.body...)
	_, err := c.conn.Write(c.out)
	return err
}

// granted reads an answer, which must be 200.
func (c *client) granted() error {
	if err := c.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	status, err := c.line()
	if err != nil {
		return err
	}
	ok := bytes.HasPrefix(status, []byte("HTTP/1.1 200"))
	first := string(status[:min(len(status), 32)])
	length := -1
	for {
		header, err := c.line()
		if err != nil {
			return err
		}
		if len(header) == 0 {
			break
		}
		if name, value, _ := bytes.Cut(header, []byte(": ")); bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		}
	}
	if length < 0 {
		return fmt.Errorf("%s: no length", first)
	}
	if !ok {
		content := make([]byte, length)
		_, _ = c.reader.Read(content)
		return fmt.Errorf("%s: %s", first, content)
	}
	_, err = c.reader.Discard(length)
	return err
}

func (c *client) line() ([]byte, error) {
	line, err := c.reader.ReadSlice('\n')
	return bytes.TrimSpace(line), err
}

func (c *client) do(path, format string, args ...any) error {
	if err := c.send(path, format, args...); err != nil {
		return err
	}
	return c.granted()
}
