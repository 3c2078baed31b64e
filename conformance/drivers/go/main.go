// Command driver is the conformance driver of the Go SDK. PROTOCOL.md says what it does.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"
)

// request is a line to the driver.
type request struct {
	ID int
	Op string

	Client, Lock, Resource string
	Prefix                 string
	Count                  int
	Addr, Owner, Secret    *string
	Proxy, Transport       *string
	Dotenv                 *bool
	Test                   map[string]float64

	Blocking        *bool
	Expire, Timeout *float64
	Renew           bool
	Mode, Note      string
	Limit           *int
	How             string
	Of              int
	Monotonic, Wall float64
}

// message is a line from the driver.
type message struct {
	ID    int      `json:"id"`
	OK    any      `json:"ok,omitempty"`
	Error *failure `json:"error,omitempty"`
	Fault string   `json:"fault,omitempty"`
	Event string   `json:"event,omitempty"`
	Token int64    `json:"token,omitempty"`
	Code  string   `json:"code,omitempty"`
}

type object = map[string]any

func main() {
	out := &output{}
	d := newDriver(out)
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<20)
	for in.Scan() {
		var r request
		if err := json.Unmarshal(in.Bytes(), &r); err != nil {
			fmt.Fprintln(os.Stderr, "not of the protocol:", err)
			os.Exit(2)
		}
		d.begin(r)
	}
	if err := d.closeAll(); err != nil {
		fmt.Fprintln(os.Stderr, "closing:", err)
		os.Exit(1)
	}
}

// output writes whole lines.
type output struct{ mu sync.Mutex }

func (o *output) write(m message) {
	line, err := json.Marshal(m)
	if err != nil {
		line = fmt.Appendf(nil, `{"id":%d,"fault":%q}`, m.ID, err.Error())
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, err := os.Stdout.Write(append(line, '\n')); err != nil {
		os.Exit(1) // nobody listens any more
	}
}
