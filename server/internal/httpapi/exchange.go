package httpapi

import (
	"bytes"
	"net/http"
	"strings"
	"time"

	"github.com/lockserver/lockserver/server"
	"github.com/lockserver/lockserver/server/internal/fault"
	"github.com/lockserver/lockserver/server/internal/forward"
	"github.com/lockserver/lockserver/server/internal/service"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// exchange is one request and its answer. Exchanges are reused to save an allocation per request.
type exchange struct {
	api    *API
	w      http.ResponseWriter
	r      *http.Request
	op     wire.Operation
	unread bool // the body was not read to the end
	call   service.Call
}

// serve answers the request and returns its outcome.
func (x *exchange) serve() (outcome string) {
	if p := x.admit(); p != nil {
		if ui := x.api.cfg.UI; ui != nil && x.op == wire.Other && ui.Has(x.r.URL.Path) {
			return x.file()
		}
		return x.refuse(p)
	}
	switch x.op {
	case wire.Healthz:
		role := "leader"
		if x.standsBy() {
			role = "standby"
		}
		return x.say(`{"status":"ok","version":` + string(wire.AppendString(nil, x.api.cfg.Version)) + `,"role":"` + role + "\"}\n")
	case wire.Readyz:
		ready := x.api.service.Ready
		if x.standsBy() {
			ready = x.api.cfg.Forwarder.Ready
		}
		if p := ready(); p != nil {
			return x.refuse(p)
		}
		return x.say(`{"status":"ready"}` + "\n")
	case wire.Openapi:
		_ = x.send(http.StatusOK, x.api.headers.yaml, server.OpenAPI)
		return service.OK
	case wire.Metrics:
		return x.metrics()
	}
	if x.standsBy() {
		return x.forward()
	}
	if f := x.api.cfg.Forwarder; f != nil {
		if from := f.Origin(x.r); from != "" {
			x.r.RemoteAddr = from
		}
	}
	if x.api.cfg.Reports != nil {
		if report, ok, p := forward.ReportIn(x.r); ok {
			return x.report(report, p)
		}
	}
	if x.op == wire.Session {
		return x.upgrade()
	}
	x.call.Op, x.call.From = x.op, x.r.RemoteAddr
	if p := x.decode(&x.call.Fields); p != nil {
		return x.refuse(p)
	}
	switch x.op {
	case wire.Events:
		return x.stream()
	case wire.History:
		if h := x.api.cfg.Events; h != nil {
			return x.tell(h.History)
		}
		return x.refuse(&wire.Problem{Code: wire.NotFound, Detail: "this server tells no events"})
	case wire.Stats:
		return x.tell(x.api.cfg.Stats.Stats)
	}
	result, ok := x.api.service.Do(x.r.Context(), &x.call)
	if !ok {
		return service.Gone
	}
	x.api.service.Audit(x.call.From, &result)
	x.deliver(&result)
	return result.Outcome()
}

// file answers with a file, which needs no secret.
func (x *exchange) file() (outcome string) {
	x.w.Header().Del("Www-Authenticate")
	if x.r.Method != http.MethodGet && x.r.Method != http.MethodHead {
		return x.refuse(x.wrongMethod("GET, HEAD"))
	}
	if err := http.NewResponseController(x.w).SetWriteDeadline(time.Now().Add(answerTimeout)); err != nil {
		return service.Gone
	}
	x.api.cfg.UI.ServeHTTP(x.w, x.r)
	return service.OK
}

// wrongMethod refuses the method of the request.
func (x *exchange) wrongMethod(allow string) *wire.Problem {
	x.w.Header()["Allow"] = []string{allow}
	return &wire.Problem{Code: wire.MethodNotAllowed, Detail: wire.Shorten([]byte(x.r.Method)) + " is not allowed here; allowed: " + allow}
}

// admit decides by the head of the request what it may do. The secret is checked before anything else.
func (x *exchange) admit() *wire.Problem {
	route, found := x.api.routes[x.r.URL.Path]
	op, allowed := route.operations[x.r.Method]
	switch {
	case allowed:
		x.op = op
	case found:
		x.op = route.first
	}
	if p := x.api.service.Admit(x.op, secretIn(x.r.Header), origin(x.r)); p != nil {
		if p.Code == wire.Unauthorized {
			x.w.Header()["Www-Authenticate"] = x.api.headers.authenticate
		}
		return p
	}
	if !found {
		return &wire.Problem{Code: wire.NotFound, Detail: "there is no " + wire.Shorten([]byte(x.r.URL.Path)) + " here"}
	}
	if !allowed {
		return x.wrongMethod(route.allow)
	}
	return nil
}

// deliver writes the result of a call, and withdraws a grant that cannot have reached the client.
func (x *exchange) deliver(result *service.Result) {
	delivered := false
	defer func() {
		if !delivered {
			result.Ticket.Leave()
		}
	}()
	buf := x.api.buffer()
	defer x.api.recycle(buf)
	buf.b = result.Append(buf.b)
	var err error
	if p := result.Problem; p != nil {
		err = x.sendProblem(p, buf.b)
	} else {
		err = x.send(result.Status(), x.api.headers.json, buf.b)
	}
	delivered = err == nil || fault.UndeliveredGrantsKept
	if name := x.passedOn(); delivered && name != "" && x.op == wire.Acquire && result.Problem == nil {
		ticket := result.Ticket
		x.api.cfg.Reports.Await(name, func(int64) { ticket.Leave() })
	}
}

// passedOn is the name of a request that another server passed on, or "".
func (x *exchange) passedOn() string {
	if x.api.cfg.Reports == nil {
		return ""
	}
	return forward.NameOf(x.r)
}

// report takes note of what became of an answer to a request that another server passed on.
func (x *exchange) report(report forward.Report, p *wire.Problem) (outcome string) {
	x.op = wire.Other
	switch {
	case p != nil:
		return x.refuse(p)
	case report.Draining && x.api.cfg.Sessions != nil:
		x.api.cfg.Sessions.Part(report.Name)
	default:
		x.api.cfg.Reports.Take(report)
	}
	return x.say("{}\n")
}

// say answers a request that needs no engine.
func (x *exchange) say(body string) (outcome string) {
	_ = x.send(http.StatusOK, x.api.headers.json, []byte(body))
	return service.OK
}

// metrics answers with what the server has counted.
func (x *exchange) metrics() (outcome string) {
	if x.api.cfg.Metrics == nil {
		return x.refuse(&wire.Problem{Code: wire.NotFound, Detail: "this server has no metrics"})
	}
	if err := http.NewResponseController(x.w).SetWriteDeadline(time.Now().Add(answerTimeout)); err != nil {
		return service.Gone
	}
	x.api.cfg.Metrics.ServeHTTP(x.w, x.r)
	return service.OK
}

// standsBy reports whether another server of the cluster leads, or none.
func (x *exchange) standsBy() bool { return x.api.cfg.Forwarder != nil && !x.api.service.Serving() }

// forward lets the server that leads answer.
func (x *exchange) forward() (outcome string) {
	buf := x.api.buffer()
	defer x.api.recycle(buf)
	if x.op.InBody() {
		if p := x.readBody(buf); p != nil {
			return x.refuse(p)
		}
	}
	p, gone := x.api.cfg.Forwarder.Forward(x.w, x.r, bytes.Clone(buf.b))
	switch {
	case gone:
		return service.Gone
	case p != nil:
		x.w.Header()["Server"] = x.api.headers.server
		return x.refuse(p)
	}
	return service.Forwarded
}

// upgrade begins a session.
func (x *exchange) upgrade() (outcome string) {
	if x.api.cfg.Sessions == nil {
		return x.refuse(&wire.Problem{Code: wire.NotFound, Detail: "this server has no sessions"})
	}
	if p := x.api.cfg.Sessions.Upgrade(x.w, x.r); p != nil {
		return x.refuse(p)
	}
	return service.OK
}

// stream answers with events until the client goes away.
func (x *exchange) stream() (outcome string) {
	if x.api.cfg.Events == nil {
		return x.refuse(&wire.Problem{Code: wire.NotFound, Detail: "this server tells no events"})
	}
	if p := x.api.cfg.Events.Stream(x.w, x.r, &x.call.Fields); p != nil {
		return x.refuse(p)
	}
	return service.OK
}

// tell answers with what others than the engine know.
func (x *exchange) tell(what func([]byte, *wire.Fields) ([]byte, *wire.Problem)) (outcome string) {
	body, p := what(nil, &x.call.Fields)
	if p != nil {
		return x.refuse(p)
	}
	_ = x.send(http.StatusOK, x.api.headers.json, body)
	return service.OK
}

// secretIn returns the secret that a request carries; "", which is never accepted, if there is none or more than one.
func secretIn(h http.Header) string {
	if own := h["X-Lockserver-Secret"]; len(own) > 0 {
		if len(own) > 1 {
			return ""
		}
		return own[0]
	}
	const bearer = "bearer "
	auth := h["Authorization"]
	if len(auth) != 1 || len(auth[0]) < len(bearer) || !strings.EqualFold(auth[0][:len(bearer)], bearer) {
		return ""
	}
	return strings.TrimSpace(auth[0][len(bearer):])
}
