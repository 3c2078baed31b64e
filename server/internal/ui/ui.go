// Package ui serves the dashboard: the files of a page that asks the server what it shows, with the secret that its user gives it. The
// files are the same for everybody and hold no secret, so they need none. Their sources are in web; `make -C web` builds them.
package ui

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

// Path is where the dashboard is.
const Path = "/ui"

//go:embed dist
var dist embed.FS

// policy lets the page load nothing but its own files, ask nobody but its own server, and be shown in no other page.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// file is one that is served.
type file struct {
	content     []byte
	contentType string
	tag         string
}

// UI is an http.Handler for all that is at Path. Files are looked up in memory, so that no request reads a disk.
type UI struct {
	files map[string]file // by path
}

// New makes a handler.
func New() *UI {
	u := &UI{files: map[string]file{}}
	err := fs.WalkDir(dist, "dist", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := dist.ReadFile(name)
		sum := sha256.Sum256(content)
		u.files[Path+strings.TrimPrefix(name, "dist")] = file{content, types[path.Ext(name)], `"` + hex.EncodeToString(sum[:12]) + `"`}
		return err
	})
	if err != nil {
		panic(err) // the files are in the binary
	}
	u.files[Path+"/"] = u.files[Path+"/index.html"]
	delete(u.files, Path+"/index.html")
	return u
}

// types are those of the files that the build makes. The system's table may have others.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".svg":  "image/svg+xml",
}

// Has reports whether there is something at that path.
func (u *UI) Has(path string) bool {
	_, found := u.files[path]
	return found || path == Path
}

// ServeHTTP answers a request for a path that the handler has.
func (u *UI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	// Asked again each time, and answered with 304 as long as the server's version is the same.
	h.Set("Cache-Control", "no-cache")
	if r.URL.Path == Path {
		h.Set("Location", strings.TrimPrefix(Path, "/")+"/") // relative: a proxy may have put the server under another path
		w.WriteHeader(http.StatusPermanentRedirect)
		return
	}
	f := u.files[r.URL.Path]
	h.Set("Etag", f.tag)
	if r.Header.Get("If-None-Match") == f.tag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Type", f.contentType)
	_, _ = w.Write(f.content)
}
