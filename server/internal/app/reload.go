package app

import (
	"context"
	"slices"
	"time"

	"github.com/lockserver/lockserver/server/internal/config"
)

// secretsEvery is how often the files with secrets are read, to take up a change.
const secretsEvery = time.Second

// Reloads reports whether there are files for Reload.
func (a *App) Reloads() bool { return a.tls != nil || secretsInFiles(a.opts) }

func secretsInFiles(o *config.Options) bool { return o.SecretFile != "" || o.PreviousSecretFile != "" }

// Reload reads the files with secrets and certificates again. What cannot be used is logged, and what was there before serves on.
func (a *App) Reload() {
	a.log.Info("reading the files with secrets and certificates again")
	a.tls.refresh()
	a.readSecrets()
}

// readSecrets takes up changes of the files with secrets.
func (a *App) readSecrets() {
	if !secretsInFiles(a.opts) {
		return
	}
	a.reading.Lock()
	defer a.reading.Unlock()
	before, next := accepted(a.opts), *a.opts
	next.Warnings = nil
	if err := next.ReadSecrets(); err != nil {
		if text := err.Error(); text != a.refused {
			a.refused = text
			a.log.Warn("new secret cannot be used; the old one stays", "error", err)
		}
		return
	}
	a.refused = ""
	if slices.Equal(before, accepted(&next)) {
		return
	}
	for _, w := range next.Warnings {
		a.log.Warn(w)
	}
	a.opts.Secret, a.opts.PreviousSecret = next.Secret, next.PreviousSecret
	a.service.SetSecrets(accepted(a.opts))
	a.log.Info("secrets read again", "accepted", len(accepted(a.opts)))
}

func (a *App) watchSecrets(ctx context.Context) {
	if !secretsInFiles(a.opts) {
		return
	}
	for tick := time.NewTicker(secretsEvery); ; {
		select {
		case <-tick.C:
			a.readSecrets()
		case <-ctx.Done():
			tick.Stop()
			return
		}
	}
}

// accepted returns the secrets that are accepted.
func accepted(o *config.Options) []string {
	values := []string{o.Secret.Reveal()}
	if o.PreviousSecret.IsSet() {
		values = append(values, o.PreviousSecret.Reveal())
	}
	return values
}
