package httpapi

import (
	"net/http"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// How a request went, where it got no problem for an answer; a problem's code says it else. With the operation these are the labels
// of the metrics, so there are few of them.
const (
	outcomeOK        = "ok"
	outcomeGranted   = "granted"
	outcomeQueued    = "queued"
	outcomeRenewed   = "renewed"
	outcomeReleased  = "released"
	outcomeCancelled = "cancelled"
	outcomeGone      = "gone" // the client went away before its answer
)

// releaseOutcome is also the outcome that the answer to a release tells.
func releaseOutcome(a *lock.Answer) string {
	if a.Code == lock.Cancelled {
		return outcomeCancelled
	}
	return outcomeReleased
}

// operation names what a request asks for.
func operation(r *http.Request) string {
	switch r.URL.Path {
	case "/acquire":
		return "acquire"
	case "/release":
		return "release"
	case "/renew":
		return "renew"
	case "/locks":
		return "list"
	case "/lock":
		if r.Method == http.MethodDelete {
			return "force_release"
		}
		return "show"
	case "/healthz", "/readyz":
		return "health"
	case "/metrics":
		return "metrics"
	case openAPIPath:
		return "openapi"
	}
	return "other"
}
