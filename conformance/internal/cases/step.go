package cases

import (
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/lockserver/lockserver/conformance/internal/driver"
	"github.com/lockserver/lockserver/conformance/internal/netfault"
)

// Step is one action with what is expected of it.
type Step struct {
	Line   int    // of the case's file
	Source string // the action as it stands there
	Action any    // one of the types below

	As     string
	Start  bool
	Expect any
	Fails  any
	Took   *Took
	Within *float64
	Until  any
	Steps  []Step // of Repeat and Each
}

// The actions. A field of type `any` can be any value, or a condition on values; texts can have ${references} in them, which are filled
// in when the step is played.
type (
	// Call is a request to the driver, with the names that the case has for its client and lock.
	Call struct {
		driver.Request `yaml:",inline"`
	}
	// Client constructs a client. What the case does not give is the right one, but for what it leaves out (Without).
	Client struct {
		Name                string
		Addr, Owner, Secret *string
		Without             []string
		Dotenv              *bool
		Proxy               string
		Transport           *string
		Test                map[string]float64
	}
	Cancel  string // the operation that is given up
	Await   string
	Entered string
	Told    string
	// Still demands that operations have not ended, and scopes not begun, or begun.
	Still struct {
		Of    names
		For   float64
		Begun bool `yaml:"-"`
	}
	Pass   float64          // seconds
	Repeat int              // so many times
	Each   []map[string]any // for these rows
	HTTP   struct {
		Method, Path string
		Query        map[string]any
		Body         any // an object, or a text that is sent as it is
		Secret       *string
		Headers      map[string]string
		Exact        bool
		Leader       bool // of a cluster
	}
	TCP struct {
		Send   string
		Body   map[string]any
		HangUp bool `yaml:"hang_up"`
		Keep   bool
		On     string
	}
	// Session is one of the runner's own.
	Session struct {
		Method  string
		Headers map[string]string
		Without []string // of the headers
		Deaf    bool     // nothing is read of it
	}
	Ask struct {
		On    string
		For   any // a request, or a list of them
		Times int // so often is the first of them there
		Exact bool
	}
	Frame struct {
		On       string
		Kind     string
		Text     string
		Code     int // of a close frame
		More     bool
		Unmasked bool
		Claims   int64 // the length that its header has
	}
	Heard         string // over that session
	Look          string // at that resource
	ServerControl string
	DriverControl string
	LinkControl   struct {
		Fault string
		Delay float64
	}
	Intercept struct {
		Path  names
		Body  map[string]any
		Skip  int
		Times times
		Then  then
	}
	Caught string
	LetGo  string
	Seen   struct {
		Path   names
		Body   any
		Status *int
	}
)

// Took is how long something may take, in seconds.
type Took struct {
	AtLeast *float64 `yaml:"at_least"`
	AtMost  *float64 `yaml:"at_most"`
}

type names []string

type then netfault.Then

type times int // < 0 for all

// actions give an empty action of each name.
var actions = map[string]func() any{
	"acquire": call, "scope": call, "leave": call, "release": call, "renew": call, "check": call, "watch": call, "events": call, "close": call, "clock": call,
	"text": call, "env": call, "leaks": call, "end": call, "client": of(Client{}), "cancel": of(Cancel("")),
	"await": of(Await("")), "entered": of(Entered("")), "told": of(Told("")), "pending": of(Still{}), "running": of(Still{Begun: true}),
	"pass": of(Pass(0)), "repeat": of(Repeat(0)), "each": of(Each{}), "http": of(HTTP{Method: "POST"}), "tcp": of(TCP{}), "look": of(Look("")),
	"session": of(Session{}), "ask": of(Ask{}), "frame": of(Frame{}), "heard": of(Heard("")),
	"server": of(ServerControl("")), "process": of(DriverControl("")), "link": of(LinkControl{}), "intercept": of(Intercept{Times: 1}),
	"caught": of(Caught("")), "let_go": of(LetGo("")), "seen": of(Seen{}),
}

func of[T any](empty T) func() any { return func() any { v := empty; return &v } }

func call() any { return &Call{} }

// UnmarshalYAML reads a step: a map with exactly one key that names an action.
func (s *Step) UnmarshalYAML(n *yaml.Node) error {
	type plain Step
	if err := n.Decode((*plain)(s)); err != nil {
		return err
	}
	s.Line = n.Line
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, value := n.Content[i].Value, n.Content[i+1]
		empty, ok := actions[name]
		if !ok {
			continue // the schema knows every other key
		}
		if s.Action != nil {
			return fmt.Errorf("line %d: a step has one action, this one has %s and %s", n.Line, s.Source, name)
		}
		action := empty()
		if err := value.Decode(action); err != nil {
			return err
		}
		if c, ok := action.(*Call); ok {
			c.Op = name
		}
		source, err := yaml.Marshal(value)
		if err != nil {
			return err
		}
		s.Action, s.Source = action, name+" "+strings.Join(strings.Fields(string(source)), " ")
	}
	if s.Action == nil {
		return fmt.Errorf("line %d: a step without an action", n.Line)
	}
	return nil
}

// orShort reads a struct, or what stands for its one field.
func orShort(n *yaml.Node, whole, field any) error {
	if n.Kind == yaml.MappingNode {
		return n.Decode(whole)
	}
	return n.Decode(field)
}

func (c *Client) UnmarshalYAML(n *yaml.Node) error {
	type plain Client
	return orShort(n, (*plain)(c), &c.Name)
}

func (s *Still) UnmarshalYAML(n *yaml.Node) error {
	type plain Still
	return orShort(n, (*plain)(s), &s.Of)
}

func (l *LinkControl) UnmarshalYAML(n *yaml.Node) error {
	type plain LinkControl
	return orShort(n, (*plain)(l), &l.Fault)
}

func (t *then) UnmarshalYAML(n *yaml.Node) error {
	return orShort(n, (*netfault.Then)(t), &t.Fault)
}

func (t *Took) UnmarshalYAML(n *yaml.Node) error {
	type plain Took
	if n.Kind == yaml.ScalarNode {
		t.AtLeast, t.AtMost = new(float64), new(float64)
		return errors.Join(n.Decode(t.AtLeast), n.Decode(t.AtMost))
	}
	return n.Decode((*plain)(t))
}

func (l *names) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		*l = names{n.Value}
		return nil
	}
	return n.Decode((*[]string)(l))
}

func (t *times) UnmarshalYAML(n *yaml.Node) error {
	if n.Value == "all" {
		*t = -1
		return nil
	}
	return n.Decode((*int)(t))
}
