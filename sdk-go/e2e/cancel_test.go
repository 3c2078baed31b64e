package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

// Cancelled at each stage of an acquisition: the call ends at once, its last id is cancelled, and no goroutine stays. The answers come
// from a server of this test, as a real one cannot be held at a chosen stage. (Not parallel: it counts goroutines.)
func TestCancelledAtEachStage(t *testing.T) {
	for name, stage := range map[string]struct {
		acquire func(w http.ResponseWriter, r *http.Request, nth int)
		release func(w http.ResponseWriter, r *http.Request)
	}{
		"before an answer": {acquire: func(_ http.ResponseWriter, r *http.Request, _ int) { <-r.Context().Done() }},
		"in the middle of an answer": {acquire: func(w http.ResponseWriter, r *http.Request, _ int) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, `{"token":`)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}},
		"between two attempts": {acquire: func(w http.ResponseWriter, _ *http.Request, _ int) {
			w.Header().Set("Retry-After", "30")
			w.WriteHeader(http.StatusServiceUnavailable)
		}},
		"in the queue": {acquire: func(w http.ResponseWriter, r *http.Request, nth int) {
			if nth > 1 {
				<-r.Context().Done()
				return
			}
			w.WriteHeader(http.StatusAccepted)
			fmt.Fprint(w, `{"position":1,"place_kept":10}`)
		}},
		"after its id was used up": {acquire: func(w http.ResponseWriter, r *http.Request, nth int) {
			if nth > 1 {
				<-r.Context().Done()
				return
			}
			w.WriteHeader(http.StatusConflict)
			fmt.Fprint(w, `{"code":"id_used"}`)
		}},
		"with a release that gets no answer": {
			acquire: func(_ http.ResponseWriter, r *http.Request, _ int) { <-r.Context().Done() },
			release: func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		},
	} {
		t.Run(name, func(t *testing.T) {
			defer noGoroutineIsLeft(t)()
			var mu sync.Mutex
			var acquired, released []string
			reached := make(chan struct{}, 100)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				var body struct{ ID string }
				if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
					t.Error(err)
				}
				mu.Lock()
				if r.URL.Path == "/release" {
					released = append(released, body.ID)
				} else {
					acquired = append(acquired, body.ID)
				}
				nth := len(acquired)
				mu.Unlock()
				switch {
				case r.URL.Path == "/acquire":
					reached <- struct{}{}
					stage.acquire(w, r, nth)
				case stage.release != nil:
					stage.release(w, r)
				default:
					fmt.Fprint(w, `{"outcome":"cancelled"}`)
				}
			}))
			defer server.Close()
			bounds := quick
			bounds.Cleanup, bounds.Grace = 300*time.Millisecond, 100*time.Millisecond
			if stage.release == nil {
				bounds.Cleanup, bounds.Grace = 0, 0 // the defaults
			}
			client := newClient(t, server.URL, bounds, overHTTP)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			result := make(chan error)
			go func() {
				_, err := client.Acquire(ctx, "r")
				result <- err
			}()
			<-reached
			if name == "in the queue" || name == "after its id was used up" {
				<-reached
			}
			time.Sleep(20 * time.Millisecond) // what was answered arrives
			start := time.Now()
			cancel()
			err := <-result
			require.ErrorIs(t, err, context.Canceled)
			require.NotErrorIs(t, err, lockserver.ErrLockTimeout)
			require.Less(t, time.Since(start), 10*time.Second)
			require.NoError(t, client.Close())
			mu.Lock()
			defer mu.Unlock()
			require.NotEmpty(t, released)
			for _, id := range released {
				require.Equal(t, acquired[len(acquired)-1], id)
			}
		})
	}
}
