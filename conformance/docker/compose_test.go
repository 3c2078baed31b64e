//go:build docker

package docker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	root        = "../.."
	ordinary    = "docker-compose.yml"
	cluster     = "docker-compose.cluster.yml"
	withSecret  = "docker-compose.secret.yml"
	lockRequest = `{"resource": "a", "owner": "me"}`
)

// generations are the ways to call Compose that this machine has: `docker compose` (v2) and `docker-compose` (1.29).
func generations(t *testing.T) map[string][]string {
	t.Helper()
	found := map[string][]string{}
	for _, command := range [][]string{{"docker", "compose"}, {"docker-compose"}} {
		out, err := exec.CommandContext(within(t, time.Minute), command[0], append(command[1:], "version", "--short")...).Output()
		if err == nil {
			found[strings.TrimSpace(string(out))] = command
		}
	}
	require.NotEmpty(t, found, "neither `docker compose` nor `docker-compose` is installed")
	return found
}

// project is a directory with the compose files, as a user would have it. Its name is the project's, so it is like no other.
type project struct {
	dir     string
	command []string
}

func newProject(t *testing.T, command []string) *project {
	t.Helper()
	p := &project{dir: t.TempDir(), command: command}
	for _, name := range []string{ordinary, withSecret, cluster, "server/scripts/make-env"} {
		target := filepath.Join(p.dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(target), 0o755))
		require.NoError(t, os.WriteFile(target, []byte(read(t, filepath.Join(root, name))), 0o755))
	}
	return p
}

// run calls Compose, with nothing of Lockserver in the environment but a free port to publish.
func (p *project) run(t *testing.T, file string, args ...string) (string, error) {
	t.Helper()
	// The test's own context is over when this cleans up.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	defer cancel()
	c := exec.CommandContext(ctx, p.command[0], append(append(p.command[1:len(p.command):len(p.command)], "-f", file), args...)...)
	c.Dir, c.WaitDelay = p.dir, time.Second
	c.Env = append(environ(), "LOCKSERVER_PORT=0", "LOCKSERVER_PORT_1=0", "LOCKSERVER_PORT_2=0", "LOCKSERVER_PORT_3=0", "ETCD_IMAGE=lockserver-etcd:dev", "COMPOSE_PROJECT_NAME="+projectName(p.dir))
	var errors bytes.Buffer
	c.Stderr = &errors
	out, err := c.Output()
	return string(out) + errors.String(), err
}

func (p *project) must(t *testing.T, file string, args ...string) string {
	t.Helper()
	out, err := p.run(t, file, args...)
	require.NoError(t, err, out)
	return strings.TrimSpace(out)
}

func (p *project) up(t *testing.T, file string) (url string) {
	t.Helper()
	t.Cleanup(func() { p.must(t, file, "down", "-v", "--timeout", "10") })
	p.must(t, file, "up", "-d", "--no-build")
	return p.healthy(t, file, "lockserver")
}

func (p *project) healthy(t *testing.T, file, service string) (url string) {
	t.Helper()
	pool := engine(t)
	id := p.must(t, file, "ps", "-q", service)
	require.Eventually(t, func() bool {
		c, err := pool.Client.InspectContainer(id)
		return err == nil && c.State.Health.Status == "healthy"
	}, 3*time.Minute, 50*time.Millisecond, "the server does not get healthy")
	address := p.must(t, file, "port", service, "8080")
	require.Regexp(t, `^127\.0\.0\.1:\d+$`, address, "nobody beyond this machine reaches it")
	return "http://" + address
}

func (p *project) makeEnv(t *testing.T) (secret string) {
	t.Helper()
	c := exec.CommandContext(within(t, time.Minute), "server/scripts/make-env")
	c.Dir, c.Env = p.dir, environ()
	out, err := c.CombinedOutput()
	require.NoError(t, err, string(out))
	made := regexp.MustCompile(`^LOCKSERVER_SECRET=([0-9a-f]{64})\n$`).FindStringSubmatch(read(t, filepath.Join(p.dir, ".env")))
	require.NotNil(t, made)
	require.NotContains(t, string(out), made[1])
	return made[1]
}

// environ is this process's environment without what configures Lockserver or Compose.
func environ() []string {
	var kept []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "LOCKSERVER_") && !strings.HasPrefix(kv, "COMPOSE_") {
			kept = append(kept, kv)
		}
	}
	return kept
}

func projectName(dir string) string {
	return "conformance" + strings.ToLower(regexp.MustCompile(`[^A-Za-z0-9]`).ReplaceAllString(dir, ""))
}

func status(t *testing.T, url, secret, body string) int {
	t.Helper()
	got, fields, err := post(t.Context(), url, secret, body)
	require.NoError(t, err)
	t.Log(url, body, got, fields)
	return got
}

func TestComposeWithoutASecretSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for version, command := range generations(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			out, err := newProject(t, command).run(t, ordinary, "up", "-d", "--no-build")
			require.Error(t, err)
			require.Contains(t, out, "LOCKSERVER_SECRET")
			require.Contains(t, out, "make up")
		})
	}
}

func TestComposeServesAndKeepsLocks(t *testing.T) {
	t.Parallel()
	for version, command := range generations(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p := newProject(t, command)
			secret := p.makeEnv(t)
			url := p.up(t, ordinary)
			require.Equal(t, http.StatusOK, status(t, url+"/acquire", secret, lockRequest))
			require.Equal(t, http.StatusUnauthorized, status(t, url+"/acquire", "wrong", lockRequest))

			c, err := engine(t).Client.InspectContainer(p.must(t, ordinary, "ps", "-q", "lockserver"))
			require.NoError(t, err)
			require.Equal(t, "unless-stopped", c.HostConfig.RestartPolicy.Name)
			require.True(t, c.HostConfig.ReadonlyRootfs)
			require.Equal(t, []string{"ALL"}, c.HostConfig.CapDrop)

			p.must(t, ordinary, "down")
			p.must(t, ordinary, "up", "-d", "--no-build")
			url = p.healthy(t, ordinary, "lockserver")
			require.Equal(t, http.StatusConflict, status(t, url+"/acquire", secret, lockRequest), "the volume has kept the lock")
		})
	}
}

func TestComposeWithADockerSecret(t *testing.T) {
	t.Parallel()
	for version, command := range generations(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p := newProject(t, command)
			require.NoError(t, os.Mkdir(filepath.Join(p.dir, "secrets"), 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(p.dir, "secrets/lockserver_secret"), []byte(secret+"\n"), 0o444))
			url := p.up(t, withSecret)
			require.Equal(t, http.StatusOK, status(t, url+"/acquire", secret, lockRequest))
			require.Equal(t, http.StatusUnauthorized, status(t, url+"/acquire", "wrong", lockRequest))

			c, err := engine(t).Client.InspectContainer(p.must(t, withSecret, "ps", "-q", "lockserver"))
			require.NoError(t, err)
			shown, err := json.Marshal(c)
			require.NoError(t, err)
			require.NotContains(t, string(shown), secret)
		})
	}
}

// A cluster answers on every server, and goes on without its leader and without one of etcd's members.
func TestComposeCluster(t *testing.T) {
	t.Parallel()
	for version, command := range generations(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p := newProject(t, command)
			secret := p.makeEnv(t)
			t.Cleanup(func() { p.must(t, cluster, "down", "-v", "--timeout", "10") })
			p.must(t, cluster, "up", "-d", "--no-build")
			urls := map[string]string{}
			for _, server := range []string{"server1", "server2", "server3"} {
				urls[server] = p.healthy(t, cluster, server)
			}
			var leaders []string
			for server, url := range urls {
				a, err := http.Get(url + "/healthz")
				require.NoError(t, err)
				var health struct{ Role string }
				require.NoError(t, json.NewDecoder(a.Body).Decode(&health))
				require.NoError(t, a.Body.Close())
				if health.Role == "leader" {
					leaders = append(leaders, server)
				}
			}
			require.Len(t, leaders, 1)
			taken := false
			for _, url := range urls {
				want := http.StatusOK
				if taken {
					want = http.StatusConflict
				}
				require.Equal(t, want, status(t, url+"/acquire", secret, lockRequest))
				taken = true
			}

			p.must(t, cluster, "kill", "etcd1")
			p.must(t, cluster, "stop", leaders[0])
			delete(urls, leaders[0])
			for _, url := range urls {
				require.Eventually(t, func() bool {
					got, _, err := post(t.Context(), url+"/renew", secret, lockRequest)
					return err == nil && got == http.StatusOK
				}, time.Minute, 50*time.Millisecond, "the holder keeps its lock")
				require.Equal(t, http.StatusConflict, status(t, url+"/acquire", secret, strings.Replace(lockRequest, "me", "another", 1)))
			}
		})
	}
}

// The two files describe one server: they may differ in where its secret comes from, and in nothing else.
func TestComposeFilesAgree(t *testing.T) {
	t.Parallel()
	for version, command := range generations(t) {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p := newProject(t, command)
			p.makeEnv(t)
			normal := func(file string) string {
				var kept []string
				for line := range strings.SplitSeq(p.must(t, file, "config"), "\n") {
					if !regexp.MustCompile(`(?i)secret|environment:`).MatchString(line) {
						kept = append(kept, line)
					}
				}
				return strings.Join(kept, "\n")
			}
			require.Equal(t, normal(ordinary), normal(withSecret))
		})
	}
}

func TestMakeEnvKeepsWhatIsThere(t *testing.T) {
	p := newProject(t, nil)
	first := p.makeEnv(t)
	require.Equal(t, first, p.makeEnv(t))
	info, err := os.Stat(filepath.Join(p.dir, ".env"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())

	another := newProject(t, nil)
	require.NotEqual(t, first, another.makeEnv(t))
}

// `make up` on a fresh clone serves, with the very line that it prints, and `make down` ends it.
func TestMakeUpOnAFreshClone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "clone")
	run := func(dir string, command ...string) string {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Minute)
		defer cancel()
		c := exec.CommandContext(ctx, command[0], command[1:]...)
		c.Dir, c.WaitDelay = dir, time.Second
		c.Env = append(environ(), "LOCKSERVER_PORT=0", "LOCKSERVER_IMAGE=lockserver-fresh-clone:dev", "COMPOSE_PROJECT_NAME="+projectName(dir))
		var errors bytes.Buffer
		c.Stderr = &errors
		out, err := c.Output()
		require.NoError(t, err, "%v\n%s%s", command, out, &errors)
		return string(out)
	}
	top, err := filepath.Abs(root)
	require.NoError(t, err)
	run(".", "git", "clone", "-q", "--depth=1", "file://"+top, dir)
	t.Cleanup(func() {
		run(dir, "sh", "-c", "LOCKSERVER_SECRET=unused server/scripts/compose down -v")
		run(dir, "docker", "image", "rm", "lockserver-fresh-clone:dev")
	})
	said := run(dir, "make", "-s", "up")
	curl := regexp.MustCompile(`(?m)^curl .*$`).FindString(said)
	require.NotEmpty(t, curl, said)
	var lock struct{ Resource, Owner string }
	require.NoError(t, json.Unmarshal([]byte(run(dir, "sh", "-c", curl+" --silent --show-error --max-time 10")), &lock))
	require.Equal(t, "demo", lock.Resource)
	run(dir, "make", "-s", "down")
	require.Empty(t, run(dir, "docker", "ps", "-q", "--filter", "label=com.docker.compose.project="+projectName(dir)))
}
