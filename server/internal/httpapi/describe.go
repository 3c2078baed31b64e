package httpapi

import (
	"net/http"
	"time"

	"github.com/lockserver/lockserver/server"
)

const openAPIPath = "/openapi.yaml"

// openAPI answers the description of the wire.
func (a *API) openAPI(_ Engine, w http.ResponseWriter, _ *http.Request) (string, *problem) {
	_ = a.send(w, http.StatusOK, a.headers.yaml, server.OpenAPI)
	return outcomeOK, nil
}

// metrics answers what the observer has counted.
func (a *API) metrics(_ Engine, w http.ResponseWriter, r *http.Request) (string, *problem) {
	if a.observer == nil {
		return "", &problem{code: codeNotFound, detail: "this server has no metrics"}
	}
	if err := http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerTimeout)); err != nil {
		return outcomeGone, nil
	}
	a.observer.ServeHTTP(w, r)
	return outcomeOK, nil
}
