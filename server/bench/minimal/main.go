// Minimal is what the server is measured against: the least that net/http and encoding/json can do with the same requests. It answers
// from a map, checks nothing, and promises nothing.
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
)

type request struct {
	Resource string   `json:"resource"`
	Owner    string   `json:"owner"`
	ID       *string  `json:"id"`
	Expire   *float64 `json:"expire"`
}

type grant struct {
	Resource string   `json:"resource"`
	Owner    string   `json:"owner"`
	ID       *string  `json:"id"`
	Token    int64    `json:"token"`
	Expires  *float64 `json:"expires_in"`
}

type released struct {
	Resource string `json:"resource"`
	Owner    string `json:"owner"`
	Token    int64  `json:"token"`
	Outcome  string `json:"outcome"`
}

type table struct {
	mu    sync.Mutex
	held  map[string]grant
	token int64
}

func main() {
	t := &table{held: make(map[string]grant)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /acquire", t.acquire)
	mux.HandleFunc("POST /release", t.release)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("minimal ready on http://%s\n", listener.Addr())
	log.Fatal(http.Serve(listener, mux))
}

func (t *table) acquire(w http.ResponseWriter, r *http.Request) {
	var req request
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	t.mu.Lock()
	_, taken := t.held[req.Resource]
	t.token++
	g := grant{req.Resource, req.Owner, req.ID, t.token, req.Expire}
	if !taken {
		t.held[req.Resource] = g
	}
	t.mu.Unlock()
	if taken {
		http.Error(w, "locked", http.StatusConflict)
		return
	}
	answer(w, g)
}

func (t *table) release(w http.ResponseWriter, r *http.Request) {
	var req request
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	t.mu.Lock()
	g, held := t.held[req.Resource]
	delete(t.held, req.Resource)
	t.mu.Unlock()
	if !held {
		http.Error(w, "not held", http.StatusConflict)
		return
	}
	answer(w, released{req.Resource, req.Owner, g.Token, "released"})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		log.Print(err)
	}
}
