// Package place says where servers and drivers run. The rest of the suite knows only these interfaces: processes of this machine
// (package local) and containers are two ways to keep them, and package cluster puts several servers in the place of each.
package place

import (
	"context"
	"io"
	"syscall"
	"time"
)

// Place starts servers and drivers. Its methods are safe for concurrent use.
type Place interface {
	// Name is shown in the report.
	Name() string
	// Server starts a server and returns once it is ready.
	Server(ctx context.Context, spec ServerSpec) (Server, error)
	// Driver starts a driver.
	Driver(ctx context.Context, spec DriverSpec) (Driver, error)
	// Etcd starts an etcd of one member, and gives the URL at which servers find it. It goes with the place.
	Etcd(ctx context.Context) (url string, err error)
	// ProxyHost is the address on which the suite's proxies listen, and reach the name by which drivers reach them there. The one
	// with IPv6 is only asked for where the place does not lack "ipv6".
	ProxyHost(ipv6 bool) (listen, reach string)
	// Lacks tells why cases that need the feature cannot run here ("" if they can). Known features: "ipv6" (the proxies can listen
	// there), "stop-driver" (Signal stops a driver and lets it go on), "cut-server" (servers are Cutters) and "reset" (a connection to
	// SuiteAddr that is reset is reset at the server).
	Lacks(feature string) string
	// Close ends and removes whatever is left. Every Server and Driver is closed by its user before.
	Close() error
}

// ServerSpec is one server to start. Its data outlives Start and goes with Close.
type ServerSpec struct {
	// Name is for logs: letters, digits, dots and dashes.
	Name string
	// Secret is set as LOCKSERVER_SECRET.
	Secret string
	// Durable asks for the disk store in place of the memory store.
	Durable bool
	// Etcd is the store of a server that is one of a cluster, in place of both: etcd:URL/PREFIX.
	Etcd string
	// Flags are further command-line flags, such as "--max-waiters=2".
	Flags []string
	// Env are further environment variables.
	Env map[string]string
}

// Server is one running (or stopped, or dead) server.
type Server interface {
	// Addr is host:port as drivers reach the server. It stays the same until the server is started again, when it may change.
	Addr() string
	// Named is Addr with a host's name in it.
	Named() string
	// SuiteAddr is host:port as the suite and its proxies reach it. It may change likewise.
	SuiteAddr() string
	Process
	// Start starts a server that has exited again, on the same data, and returns once it is ready.
	Start(ctx context.Context) error
}

// Cutter is a Server that can be taken off the network while it goes on. A place that does not lack "cut-server" has such servers.
type Cutter interface {
	// Cut makes the network lose every packet to and from the server, without telling anyone.
	Cut(ctx context.Context) error
	// Heal brings the server back, at an address that may have changed.
	Heal(ctx context.Context) error
}

// Cluster is a Server that is several, of which it is reached through one that stands by.
type Cluster interface {
	// LeaderAddr is host:port at which the suite reaches the one that leads. It may change when the servers are started again.
	LeaderAddr() string
	// StandsBy gives an error if the one through which it is reached does not stand by any more.
	StandsBy(ctx context.Context) error
}

// DriverSpec is one driver to start.
type DriverSpec struct {
	// Name is the driver's name in the matrix.
	Name string
	// Command is the command line for a local process; a place that has images goes by Name or Image.
	Command []string
	// Image is a container image given by the user, for places that run those.
	Image string
	// Env holds all LOCKSERVER_… variables of the driver, and others to set; the rest of its environment is the place's to choose.
	Env map[string]string
	// Files are put into the driver's working directory before it starts (".env").
	Files map[string]string
}

// Driver is one running driver.
type Driver interface {
	// Stdin is closed to tell the driver to end.
	Stdin() io.WriteCloser
	// Stdout ends when the driver has ended.
	Stdout() io.Reader
	Process
}

// Process is what servers and drivers have in common.
type Process interface {
	// Signal sends SIGSTOP (or pauses), SIGCONT, SIGTERM or SIGKILL.
	Signal(sig syscall.Signal) error
	// Wait waits until the process has ended and gives its exit code; 128 + n if signal n ended it. It can be called any number of times.
	Wait(ctx context.Context) (int, error)
	// Stderr is what the process wrote to standard error so far.
	Stderr() string
	// Close ends the process if it runs, and removes it with its data.
	Close() error
}

// Ready is the longest that a server may take to be ready, or a driver to say hello, on a loaded machine.
const Ready = 30 * time.Second
