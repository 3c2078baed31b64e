package netfault

import (
	"context"
	"io"
	"maps"
	"net/http"
)

// stream passes on an answer that goes on, as it comes.
func (t *tap) stream(w http.ResponseWriter, r *http.Request, q *Request, path string) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()
	res, err := t.ask(ctx, r, path, nil)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	defer res.Body.Close()
	maps.Copy(w.Header(), res.Header)
	t.status(q, res.StatusCode)
	w.WriteHeader(res.StatusCode)
	if _, err := io.Copy(flushed{w, http.NewResponseController(w)}, res.Body); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// flushed holds nothing back.
type flushed struct {
	io.Writer
	*http.ResponseController
}

func (f flushed) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err == nil {
		err = f.Flush()
	}
	return n, err
}
