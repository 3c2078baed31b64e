package lockserver

import "fmt"

// operation is one kind of request.
type operation struct {
	name, method, path string
	query              bool // the request's members go into the query
	answerMax          int  // bytes
	queues             bool // 202 is an answer too
	session            bool // a session can ask for it
}

// undone says what did not come about.
func (op *operation) undone(resource string) string {
	participle := "released"
	switch op {
	case &opList:
		return "the list did not come"
	case &opAcquire:
		participle = "granted"
	case &opRenew:
		participle = "renewed"
	case &opShow:
		participle = "shown"
	case &opStats:
		return "the statistics did not come"
	case &opYield:
		return fmt.Sprintf("the holders of %q were not asked", resource)
	case &opFollow:
		return "the events did not come"
	case &opHistory:
		return fmt.Sprintf("the history of %q did not come", resource)
	}
	return fmt.Sprintf("resource %q was not %s", resource, participle)
}

// What goes over the wire: durations are seconds, null and absent are the same.

type acquireRequest struct {
	Resource string  `json:"resource"`
	Owner    string  `json:"owner"`
	Expire   float64 `json:"expire,omitempty"`
	Wait     float64 `json:"wait,omitempty"`
	ID       string  `json:"id,omitempty"`
	Mode     string  `json:"mode,omitempty"`
	Limit    int     `json:"limit,omitempty"`
	Note     string  `json:"note,omitempty"`
}

type releaseRequest struct {
	Resource string `json:"resource"`
	Owner    string `json:"owner"`
	Token    int64  `json:"token,omitempty"`
	ID       string `json:"id,omitempty"`
}

type renewRequest struct {
	Resource string  `json:"resource"`
	Owner    string  `json:"owner"`
	Token    int64   `json:"token,omitempty"`
	ID       string  `json:"id,omitempty"`
	Expire   float64 `json:"expire,omitempty"`
}

type listRequest struct {
	Prefix string `json:"prefix,omitempty"`
	Owner  string `json:"owner,omitempty"`
	Limit  int    `json:"limit,omitempty"`
	Cursor string `json:"cursor,omitempty"`
}

// lockRequest is of show and force_release.
type lockRequest struct {
	Resource string `json:"resource"`
	Token    int64  `json:"token,omitempty"`
}
