package httpapi

import (
	"net/http"

	"github.com/lockserver/lockserver/server/internal/lock"
)

func (a *API) acquire(e Engine, w http.ResponseWriter, r *http.Request) (string, *problem) {
	f, p := a.decode(w, r, setOf(fieldResource, fieldOwner, fieldExpire, fieldWait, fieldID, fieldMode, fieldLimit, fieldNote))
	if p != nil {
		return "", p
	}
	req, err := f.acquire()
	if err != nil {
		return "", err.asProblem()
	}
	var ticket lock.Ticket
	delivered := false
	defer func() {
		if !delivered {
			e.Leave(ticket)
		}
	}()
	ctx := r.Context()
	answer, ok := a.ask(ctx, func(to lock.Reply) { ticket = e.Acquire(&req, to) })
	// Where both have come, the answer and the end of the client, none of the answer has been written yet: it goes back.
	if !ok || ctx.Err() != nil {
		return outcomeGone, nil
	}
	outcome, sendErr := a.answerAcquire(w, r, &req, &answer)
	delivered = sendErr == nil
	return outcome, nil
}

func (a *API) answerAcquire(w http.ResponseWriter, r *http.Request, req *lock.Request, answer *lock.Answer) (string, error) {
	switch answer.Code {
	case lock.Granted:
		return outcomeGranted, a.answer(w, http.StatusOK, func(b []byte) []byte { return appendGrant(b, req.Resource, req.Owner, answer) })
	case lock.Queued:
		return outcomeQueued, a.answer(w, http.StatusAccepted, func(b []byte) []byte { return appendQueued(b, req.ID, answer) })
	}
	p := refusal(answer)
	return string(p.code), a.trySend(w, r, p)
}

func (a *API) release(e Engine, w http.ResponseWriter, r *http.Request) (string, *problem) {
	f, p := a.decode(w, r, setOf(fieldResource, fieldOwner, fieldToken, fieldID))
	if p != nil {
		return "", p
	}
	ref, err := f.ref()
	if err != nil {
		return "", err.asProblem()
	}
	answer, ok := a.ask(r.Context(), func(to lock.Reply) { e.Release(&ref, to) })
	if !ok {
		return outcomeGone, nil
	}
	if answer.Code != lock.Released && answer.Code != lock.Cancelled {
		return "", refusal(&answer)
	}
	_ = a.answer(w, http.StatusOK, func(b []byte) []byte { return appendReleased(b, &ref, &answer) })
	return releaseOutcome(&answer), nil
}

func (a *API) renew(e Engine, w http.ResponseWriter, r *http.Request) (string, *problem) {
	f, p := a.decode(w, r, setOf(fieldResource, fieldOwner, fieldToken, fieldID, fieldExpire))
	if p != nil {
		return "", p
	}
	ref, err := f.ref()
	if err != nil {
		return "", err.asProblem()
	}
	answer, ok := a.ask(r.Context(), func(to lock.Reply) { e.Renew(&ref, f.expire, to) })
	if !ok {
		return outcomeGone, nil
	}
	if answer.Code != lock.Granted {
		return "", refusal(&answer)
	}
	_ = a.answer(w, http.StatusOK, func(b []byte) []byte { return appendGrant(b, ref.Resource, ref.Owner, &answer) })
	return outcomeRenewed, nil
}
