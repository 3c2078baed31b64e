package bench_test

import (
	"bufio"
	"crypto/sha1" // what Redis names scripts by
	"fmt"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

// deleteOwn gives a lock of Redis back, as its documentation says.
const deleteOwn = `if redis.call("get",KEYS[1]) == ARGV[1] then return redis.call("del",KEYS[1]) else return 0 end`

var deleteOwnName = fmt.Sprintf("%x", sha1.Sum([]byte(deleteOwn)))

// redis starts redis-server, or returns nil if this machine has none. On disk it syncs each write, as our server does.
func redis(b *testing.B, durable bool) *process {
	b.Helper()
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		b.Log("*** THERE IS NO redis-server: NOTHING IS COMPARED WITH IT ***")
		return nil
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	must(b, err)
	addr := free.Addr().String()
	must(b, free.Close())
	_, port, err := net.SplitHostPort(addr)
	must(b, err)
	args := []string{"--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", b.TempDir(), "--loglevel", "warning"}
	if durable {
		args = append(args, "--appendonly", "yes", "--appendfsync", "always")
	}
	cmd := exec.Command(binary, args...)
	must(b, cmd.Start())
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	p := &process{b: b, pid: cmd.Process.Pid, addr: addr}
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if conn, err := net.Dial("tcp", addr); err == nil {
			must(b, conn.Close())
			must(b, dialRedis(b, p).do("$40", "SCRIPT", "LOAD", deleteOwn)) // its name follows
			return p
		}
		if time.Now().After(end) {
			b.Fatal("redis-server does not answer")
		}
	}
}

// redisFlow is a connection of one flow, as the lock libraries of Redis use it.
type redisFlow struct {
	conn   net.Conn
	reader *bufio.Reader
	out    []byte
}

func dialRedis(b *testing.B, p *process) *redisFlow {
	b.Helper()
	conn, err := net.DialTimeout("tcp", p.addr, patience)
	must(b, err)
	b.Cleanup(func() { _ = conn.Close() })
	return &redisFlow{conn: conn, reader: bufio.NewReaderSize(conn, 1024)}
}

// do sends a command whose answer is one line.
func (f *redisFlow) do(want string, words ...string) error {
	f.out = strconv.AppendInt(append(f.out[:0], '*'), int64(len(words)), 10)
	for _, w := range words {
		f.out = strconv.AppendInt(append(f.out, "\r\n$"...), int64(len(w)), 10)
		f.out = append(append(f.out, "\r\n"...), w...)
	}
	if _, err := f.conn.Write(append(f.out, "\r\n"...)); err != nil {
		return err
	}
	line, err := f.reader.ReadString('\n')
	if err == nil && strings.TrimSpace(line) != want {
		err = fmt.Errorf("%s: %s", words[0], line)
	}
	return err
}

func (f *redisFlow) pair(n, i int) error {
	resource := "jobs/" + strconv.Itoa(i) + "-" + strconv.Itoa(n)
	value := "worker-" + strconv.Itoa(n) + "request-" + strconv.Itoa(i)
	if err := f.do("+OK", "SET", resource, value, "NX", "PX", "30000"); err != nil {
		return err
	}
	return f.do(":1", "EVALSHA", deleteOwnName, "1", resource, value)
}
