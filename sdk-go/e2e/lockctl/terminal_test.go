package lockctl

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
)

// shell is a person at an interactive shell on a terminal.
type shell struct {
	w      *world
	pty    *os.File
	pid    int
	screen *output
}

func (w *world) shell() *shell {
	w.t.Helper()
	cmd := exec.Command("bash", "--norc", "--noprofile", "-i")
	cmd.Dir, cmd.Env = w.dir, append(append([]string{}, w.env...), "PS1=ready$ ")
	// For commands to wait at. While a shell waits for a process that it starts, as a loop of sleeps does, Ctrl-Z may find it in its
	// vfork, which nothing stops.
	for _, name := range []string{"go", "never"} {
		require.NoError(w.t, syscall.Mkfifo(w.file(name), 0o600))
	}
	s := w.terminal(cmd)
	s.sees("ready$ ")
	return s
}

// terminal starts a command on a terminal of its own.
func (w *world) terminal(cmd *exec.Cmd) *shell {
	w.t.Helper()
	// Without noflsh, a Ctrl-C throws away what was written and not yet read, even what was written because of it.
	cmd.Args = append([]string{"sh", "-c", `stty noflsh; exec "$@"`, "sh", cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	terminal, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 50, Cols: 200})
	require.NoError(w.t, err)
	s := &shell{w: w, pty: terminal, pid: cmd.Process.Pid, screen: &output{}}
	read := make(chan struct{})
	go func() {
		defer close(read)
		buf := make([]byte, 4096)
		for {
			n, err := terminal.Read(buf)
			_, _ = s.screen.Write(buf[:n])
			if err != nil { // the shell is gone
				return
			}
		}
	}()
	w.t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = terminal.Close()
		<-read
		if w.t.Failed() {
			w.t.Logf("screen:\n%s", s.screen)
		}
	})
	return s
}

func (s *shell) types(text string) {
	s.w.t.Helper()
	_, err := s.pty.WriteString(text)
	require.NoError(s.w.t, err)
}

// sees waits until the text is on the screen, and forgets what was there before.
func (s *shell) sees(text string) string {
	s.w.t.Helper()
	var seen string
	require.Eventually(s.w.t, func() bool {
		s.screen.mu.Lock()
		defer s.screen.mu.Unlock()
		before, after, found := strings.Cut(s.screen.b.String(), text)
		if found {
			seen = before
			s.screen.b.Reset()
			s.screen.b.WriteString(after)
		}
		return found
	}, patience, 2*time.Millisecond, "no %q", text)
	return seen
}

// stops presses Ctrl-Z, and waits until the shell has its terminal back.
func (s *shell) stops() {
	s.w.t.Helper()
	s.types("\x1a")
	s.sees("Stopped")
	s.sees("ready$ ")
}

// fg continues the stopped job, and waits until the shell has given its terminal away: what is typed before goes to the shell.
func (s *shell) fg() {
	s.w.t.Helper()
	s.types("fg\n")
	require.Eventually(s.w.t, func() bool { return s.foreground() != s.pid }, patience, 2*time.Millisecond)
}

// foreground is the process group that has the terminal.
func (s *shell) foreground() int {
	var group int32
	conn, err := s.pty.SyscallConn()
	require.NoError(s.w.t, err)
	require.NoError(s.w.t, conn.Control(func(fd uintptr) {
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCGPGRP, uintptr(unsafe.Pointer(&group)))
		require.Zero(s.w.t, errno)
	}))
	return int(group)
}

func TestCtrlCGoesToTheCommand(t *testing.T) {
	w := newWorld(t)
	s := w.shell()
	s.types(`"$LOCKCTL" run r -- sh -c 'trap "echo cau\"\"ght; exit 5" INT; echo u""p; while :; do sleep 0.05; done'; echo co""de $?` + "\n")
	s.sees("up\r\n")
	s.types("\x03")
	s.sees("caught")
	s.sees("code 5")
	require.False(t, w.held("r"))
	s.types("echo still he\"\"re\n") // the shell has its terminal back
	s.sees("still here")
}

func TestCtrlCWhileWaiting(t *testing.T) {
	w := newWorld(t)
	holder := w.start("run", "--note", "big job", "r", "--", "sh", "-c", "echo up; exec sleep 600")
	holder.says("up")
	s := w.shell()
	s.types(`"$LOCKCTL" run r -- true; echo went o""n` + "\n")
	// Meanwhile it tells who is in the way.
	s.sees(`waiting for "r": held by `)
	s.sees("(big job); we are at place 1 of 1")
	s.types("\x03")
	require.NotContains(t, s.sees("ready$ "), "went on")
	s.types(`echo co""de $?` + "\n")
	s.sees("code 130")
	l, _ := w.show("r")
	require.Empty(t, l.Queue)
}

func TestCtrlZStopsAndFgContinues(t *testing.T) {
	w := newWorld(t)
	s := w.shell()
	s.types(`"$LOCKCTL" run --expire 60 r -- sh -c 'echo u""p; read line; echo "got $line"'; echo co""de $?` + "\n")
	s.sees("up\r\n")
	s.stops()
	s.types("echo he\"\"re\n")
	s.sees("here")
	require.True(t, w.held("r"), "the lease still runs")
	s.fg()
	s.types("hello\n")
	s.sees("got hello")
	s.types("echo en\"\"d\n")
	s.sees("end")
	require.False(t, w.held("r"))
}

// A job that is stopped for longer than its lease is ended in time, and fg tells.
func TestFgAfterTheLease(t *testing.T) {
	w := newWorld(t)
	s := w.shell()
	s.types(`"$LOCKCTL" run --expire ` + lease.String() + ` r -- sh -c 'echo $$ > child; read line < never; echo went o""n'` + "\n")
	child := w.pid("child")
	s.stops()
	require.Eventually(t, func() bool { return !runs(child) }, patience, 2*time.Millisecond)
	require.Eventually(t, func() bool { return !w.held("r") }, patience, 10*time.Millisecond)
	s.types("fg\n")
	s.sees("lock lost")
	s.types(`echo co""de $?` + "\n")
	require.NotContains(t, s.sees("code 122"), "went on")
}

// What Ctrl-C and Ctrl-Z do to the command, they do to the script around lockctl too.
func TestAScriptAround(t *testing.T) {
	w := newWorld(t)
	script := "#!/bin/sh\n\"$LOCKCTL\" run r -- sh -c 'echo up; exec sleep 600'\necho went on\n"
	require.NoError(t, os.WriteFile(w.file("script"), []byte(script), 0o700))
	s := w.shell()
	s.types("./script\n")
	s.sees("up\r\n")
	s.stops()
	s.fg()
	s.types("\x03")
	require.NotContains(t, s.sees("ready$ "), "went on")
	require.False(t, w.held("r"))
}

// A script of bash ends by Ctrl-C only where it sees lockctl end by it; here the command has not got the terminal, or there is none yet.
func TestCtrlCEndsAScriptOfBash(t *testing.T) {
	for name, line := range map[string]string{
		"while it waits":           `"$LOCKCTL" run held -- true`,
		"while it tries":           `"$LOCKCTL" run --timeout 50s held -- true`,
		"a command of a pipeline":  `true | "$LOCKCTL" run free -- sh -c 'echo up; exec sleep 600'`,
		"a command with its input": `"$LOCKCTL" run free -- sh -c 'echo up; exec sleep 600' < /dev/null`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			holder := w.start("run", "held", "--", "sh", "-c", "echo up; exec sleep 600")
			holder.says("up")
			require.NoError(t, os.WriteFile(w.file("script"), []byte("#!/usr/bin/env bash\n"+line+"\necho went on\n"), 0o700))
			s := w.shell()
			s.types("./script\n")
			if strings.Contains(line, "echo up") {
				s.sees("up\r\n")
			} else {
				require.Eventually(t, func() bool { l, _ := w.show("held"); return len(l.Queue) == 1 }, patience, 5*time.Millisecond)
			}
			s.types("\x03")
			require.NotContains(t, s.sees("ready$ "), "went on")
			l, _ := w.show("held")
			require.Empty(t, l.Queue)
			require.False(t, w.held("free"))
		})
	}
}

// A script that asks its person something afterwards has the terminal back.
func TestAScriptThatReadsAfterwards(t *testing.T) {
	w := newWorld(t)
	script := "#!/bin/sh\n\"$LOCKCTL\" run r -- true\necho name?\nread -r line\necho got \"$line\"\n"
	require.NoError(t, os.WriteFile(w.file("script"), []byte(script), 0o700))
	s := w.shell()
	s.types("./script\n")
	s.sees("name?\r\n")
	s.types("ada\n")
	s.sees("got ada\r\n")
}

func TestTheCommandHasTheForeground(t *testing.T) {
	w := newWorld(t)
	s := w.shell()
	s.types(`"$LOCKCTL" run r -- sh -c 'set -- $(ps -o pgid=,tpgid= -p $$); echo gro""up $(($1 - $2))'` + "\n")
	s.sees("group 0\r\n")
}

// In a pipeline the others keep the terminal until the command asks for it.
func TestPipeline(t *testing.T) {
	w := newWorld(t)
	s := w.shell()
	s.types(`"$LOCKCTL" run r -- sh -c 'echo u""p; read line < /dev/tty; echo "got $line"; read line < never' | cat` + "\n")
	s.sees("up\r\n")
	s.types("hello\n")
	s.sees("got hello")
	s.stops()
	s.fg()
	s.types("\x03")
	s.sees("ready$ ")
	require.False(t, w.held("r"))

	s.types(`echo in""put | "$LOCKCTL" run r -- sh -c 'read line; echo "got $line"; read line < never'` + "\n")
	s.sees("got input")
	s.stops()
	s.fg()
	s.types("\x03")
	s.sees("ready$ ")
	require.False(t, w.held("r"))
}

// A command in the background that reads is stopped, as any would be; fg gives it the terminal.
func TestInTheBackground(t *testing.T) {
	w := newWorld(t)
	s := w.shell()
	s.types(`"$LOCKCTL" run --expire 60 r -- sh -c 'echo $PPID > parent; read line; echo "got $line"' &` + "\n")
	lockctl := w.pid("parent")
	require.Eventually(t, func() bool { return state(lockctl) == 'T' }, patience, 2*time.Millisecond)
	require.Eventually(t, func() bool { // the shell tells when it prompts, once it has noticed
		s.types("\n")
		return strings.Contains(s.screen.String(), "Stopped")
	}, patience, 20*time.Millisecond)
	s.fg()
	s.types("hello\n")
	s.sees("got hello")
	s.sees("ready$ ")

	// The shell tells nobody that a job which already runs comes to the foreground.
	s.types(`"$LOCKCTL" run --expire 60 r -- sh -c 'echo $$ > second; read line < go; read line; echo "got $line"; read line < never' &` + "\n")
	child := w.pid("second")
	s.fg()
	s.stops()
	require.Equal(t, byte('T'), state(child))
	s.fg()
	require.NoError(t, os.WriteFile(w.file("go"), []byte("\n"), 0o600))
	s.types("again\n")
	s.sees("got again")
	s.types("\x03")
	s.sees("ready$ ")
	require.False(t, w.held("r"))
}

// Where no shell could continue a job, Ctrl-Z stops nothing for good.
func TestCtrlZWithoutAShell(t *testing.T) {
	w := newWorld(t)
	s := w.terminal(w.command("run", "r", "--", "sh", "-c", `echo up; read line; echo "got $line"`))
	s.sees("up\r\n")
	s.types("\x1a")
	s.sees("^Z")
	s.types("hello\n")
	s.sees("got hello")
}

func TestAShellInside(t *testing.T) {
	w := newWorld(t)
	s := w.shell()
	s.types(`PS1='in''side$ ' "$LOCKCTL" run r -- bash --norc --noprofile -i` + "\n")
	s.sees("inside$ ")
	require.True(t, w.held("r"))
	s.types("sh -c 'echo sl\"\"eeps; exec sleep 600'\n")
	s.sees("sleeps\r\n")
	s.types("\x03") // ends the sleep, not the shell inside
	s.sees("inside$ ")
	s.types("echo $((6*7)) $LOCKSERVER_RESOURCE\n")
	s.sees("42 r\r\n")
	s.types("exit\n")
	s.sees("ready$ ")
	require.False(t, w.held("r"))
}

func TestForceReleaseAsks(t *testing.T) {
	w := newWorld(t)
	holder := w.start("run", "--expire", "60", "r", "--", "sh", "-c", "echo up; exec sleep 600")
	holder.says("up")
	l, _ := w.show("r")
	s := w.shell()
	for _, no := range []string{"\n", "n\n", "what\n"} {
		s.types(`"$LOCKCTL" force-release r; echo co""de $?` + "\n")
		s.sees(l.Holders[0].Owner)
		s.sees("[y/N] ")
		s.types(no)
		s.sees("nothing was done")
		s.sees("code 1\r\n")
		require.True(t, w.held("r"))
	}
	s.types(`"$LOCKCTL" force-release r; echo co""de $?` + "\n")
	s.sees("[y/N] ")
	s.types("y\n")
	s.sees("taken from " + l.Holders[0].Owner)
	s.sees("code 0")
	require.False(t, w.held("r"))
}

func TestColourOnATerminalOnly(t *testing.T) {
	w := newWorld(t)
	holder := w.start("run", "r", "--", "sh", "-c", "echo up; exec sleep 600")
	holder.says("up")
	require.NotContains(t, w.run("show", "r").stdout.String(), "\x1b")
	s := w.shell()
	s.types(`"$LOCKCTL" show r; echo en""d` + "\n")
	require.Contains(t, s.sees("end"), "\x1b[1mr\x1b[0m")
	s.types(`NO_COLOR=1 "$LOCKCTL" show r; echo en""d` + "\n")
	shown := s.sees("end")
	require.NotContains(t, shown, "\x1b[1m")
	require.Contains(t, shown, "exclusive")
}
