package main

import (
	"bufio"
	"context"
	"crypto/sha1" // what Redis names scripts by
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// redis is a server for comparison. Locks are taken and given back as its documentation describes: SET with NX and PX, and a script
// that deletes the key if it still has the holder's value. Each flow has a connection to itself.
type redis struct {
	cmd    *exec.Cmd
	socket string
}

const deleteOwn = `if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end`

// startRedis starts redis-server on a free port; it returns nil if there is none on this machine.
func startRedis(dir string, durable bool) (*redis, error) {
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, nil
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	port := free.Addr().(*net.TCPAddr).Port
	if err := free.Close(); err != nil {
		return nil, err
	}
	args := []string{"--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--save", "", "--dir", dir, "--loglevel", "warning"}
	if durable {
		args = append(args, "--appendonly", "yes", "--appendfsync", "always", "--appenddirname", filepath.Base(dir)+"-aof")
	}
	r := &redis{cmd: exec.Command(binary, args...), socket: net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	if err := r.cmd.Start(); err != nil {
		return nil, err
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := r.dial()
		if err == nil {
			defer c.conn.Close()
			_, err = c.do("SCRIPT", "LOAD", deleteOwn)
			return r, err
		}
		if time.Now().After(end) {
			r.kill()
			return nil, fmt.Errorf("redis-server does not answer: %w", err)
		}
	}
}

func (r *redis) kill() {
	_ = r.cmd.Process.Kill()
	_ = r.cmd.Wait()
}

// flow is one connection.
type flow struct {
	conn   net.Conn
	reader *bufio.Reader
	out    []byte
	n      int
}

func (r *redis) dial() (*flow, error) {
	conn, err := net.DialTimeout("tcp", r.socket, time.Second)
	if err != nil {
		return nil, err
	}
	return &flow{conn: conn, reader: bufio.NewReader(conn)}, nil
}

// do sends a command and returns its answer, which must be one line or one string.
func (f *flow) do(words ...string) (string, error) {
	f.out = fmt.Appendf(f.out[:0], "*%d\r\n", len(words))
	for _, w := range words {
		f.out = fmt.Appendf(f.out, "$%d\r\n%s\r\n", len(w), w)
	}
	if _, err := f.conn.Write(f.out); err != nil {
		return "", err
	}
	line, err := f.reader.ReadString('\n')
	if err != nil {
		return "", err
	}
	line = strings.TrimSpace(line)
	switch {
	case line[0] == '-':
		return "", errors.New(line)
	case line[0] == '$' && line != "$-1":
		n, err := strconv.Atoi(line[1:])
		if err != nil {
			return "", err
		}
		text := make([]byte, n+2)
		_, err = io.ReadFull(f.reader, text)
		return string(text[:n]), err
	}
	return line[1:], nil
}

var deleteOwnName = func() string {
	sum := sha1.Sum([]byte(deleteOwn)) // what Redis names scripts by
	return hex.EncodeToString(sum[:])
}()

func (f *flow) pair(_ context.Context, resource string) error {
	f.n++
	value := resource + strconv.Itoa(f.n)
	got, err := f.do("SET", resource, value, "NX", "PX", "30000")
	if err != nil || got != "OK" {
		return fmt.Errorf("set: %q, %w", got, err)
	}
	got, err = f.do("EVALSHA", deleteOwnName, "1", resource, value)
	if err != nil || got != "1" {
		return fmt.Errorf("delete: %q, %w", got, err)
	}
	return nil
}
