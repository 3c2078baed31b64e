package httpapi

import (
	"context"
	"net/http"

	"github.com/lockserver/lockserver/server/internal/lock"
)

func (a *API) list(e Engine, w http.ResponseWriter, r *http.Request) (string, *problem) {
	f, q, err := query(r, setOf(fieldPrefix, fieldOwner, fieldPageLimit, fieldCursor))
	if err != nil {
		return "", err.asProblem()
	}
	q.Owner = f.owner
	return a.look(r.Context(), w, func(to lock.Reply) { e.List(r.Context(), q, to) }, appendPage)
}

func (a *API) show(e Engine, w http.ResponseWriter, r *http.Request) (string, *problem) {
	f, _, err := query(r, setOf(fieldResource))
	if err == nil {
		err = f.require(fieldResource)
	}
	if err != nil {
		return "", err.asProblem()
	}
	return a.look(r.Context(), w, func(to lock.Reply) { e.Show(f.resource, to) }, appendLockAndQueue)
}

func (a *API) forceRelease(e Engine, w http.ResponseWriter, r *http.Request) (string, *problem) {
	f, _, err := query(r, setOf(fieldResource, fieldToken))
	if err == nil {
		err = f.require(fieldResource)
	}
	if err != nil {
		return "", err.asProblem()
	}
	// Who was evicted goes into the log, also where nobody is there any more to be told.
	ctx := context.WithoutCancel(r.Context())
	return a.look(ctx, w, func(to lock.Reply) { e.ForceRelease(f.resource, f.token, to) }, func(b []byte, d *lock.Detail) []byte {
		for i := range d.Holders {
			h := &d.Holders[i]
			a.log.Info("lock evicted", "resource", f.resource, "owner", h.Owner, "token", h.Token, "held_for", h.HeldFor, "by", r.RemoteAddr)
		}
		return appendEvicted(b, f.resource, d)
	})
}

// look asks the engine, and answers what it found.
func (a *API) look(ctx context.Context, w http.ResponseWriter, start func(to lock.Reply), encode func([]byte, *lock.Detail) []byte) (string, *problem) {
	answer, ok := a.ask(ctx, start)
	if !ok {
		return outcomeGone, nil
	}
	if answer.Code != lock.Found && answer.Code != lock.Evicted {
		return "", refusal(&answer)
	}
	_ = a.answer(w, http.StatusOK, func(b []byte) []byte { return encode(b, answer.Detail) })
	return outcomeOK, nil
}

// healthz says that the process is alive.
func (a *API) healthz(_ Engine, w http.ResponseWriter, _ *http.Request) (string, *problem) {
	_ = a.answer(w, http.StatusOK, func(b []byte) []byte {
		b = append(b, `{"status":"ok","version":`...)
		return append(appendString(b, a.version), "}\n"...)
	})
	return outcomeOK, nil
}

// readyz says whether requests are worth sending.
func (a *API) readyz(_ Engine, w http.ResponseWriter, _ *http.Request) (string, *problem) {
	if a.draining.Load() {
		return "", &problem{code: codeDraining, detail: "the server shuts down", reason: "draining"}
	}
	e := a.engine.Load()
	if e == nil {
		return "", loading()
	}
	select {
	case <-(*e).Failed():
		return "", &problem{code: codeStoreUnavailable, detail: "the store failed, and the server ends", reason: "failed"}
	default:
	}
	_ = a.answer(w, http.StatusOK, func(b []byte) []byte { return append(b, `{"status":"ready"}`+"\n"...) })
	return outcomeOK, nil
}
