package config_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/config"
)

const good = "correct-horse-battery"

// source is where the settings of a test come from; `.env` is a file in a directory of its own.
type source struct {
	args   []string
	env    map[string]string
	dotenv string
	files  map[string]string
}

func (s source) load(t *testing.T) (*config.Options, error) {
	t.Helper()
	dir := t.TempDir()
	if s.dotenv != "" {
		require.NoError(t, os.WriteFile(filepath.Join(dir, ".env"), []byte(s.dotenv), 0o600))
	}
	for name, content := range s.files {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	return config.Load(config.Source{
		Args: s.args, Dir: dir, NeedsSecret: true,
		LookupEnv: func(name string) (string, bool) { v, ok := s.env[name]; return v, ok },
	})
}

// with adds a good secret.
func (s source) with() source {
	env := map[string]string{"LOCKSERVER_SECRET": good}
	maps.Copy(env, s.env)
	s.env = env
	return s
}

func (s source) options(t *testing.T) *config.Options {
	t.Helper()
	o, err := s.with().load(t)
	require.NoError(t, err)
	return o
}

func (s source) refused(t *testing.T) string {
	t.Helper()
	_, err := s.load(t)
	require.Error(t, err)
	return err.Error()
}

func TestDefaults(t *testing.T) {
	o := source{}.options(t)
	require.Equal(t, "127.0.0.1:8080", o.Address())
	require.Equal(t, "disk:./lockserver-data", o.Store.String())
	require.Equal(t, good, o.Secret.Reveal())
	require.False(t, o.PreviousSecret.IsSet())
	require.Equal(t, time.Minute, o.MaxWait)
	require.Equal(t, 1_000_000, o.MaxLocks)
	require.Equal(t, 100_000, o.MaxWaiters)
	require.Equal(t, 1_000_000, o.MaxRemembered)
	require.Equal(t, 65536, o.MaxBody)
	require.Equal(t, 10*time.Second, o.ShutdownTimeout)
	require.Equal(t, slog.LevelInfo, o.LogLevel)
	require.Equal(t, "text", o.LogFormat)
	require.True(t, o.UI)
	require.Positive(t, o.MaxConnections)
	require.Positive(t, o.HeaderTimeout)
	require.Positive(t, o.IdleTimeout)
	require.Empty(t, o.Warnings)
}

func TestFlagOverEnvironmentOverDotenv(t *testing.T) {
	dotenv := "LOCKSERVER_PORT=1\nLOCKSERVER_STORE=disk:from-dotenv\n"
	env := map[string]string{"LOCKSERVER_PORT": "2"}
	require.Equal(t, 1, source{dotenv: dotenv}.options(t).Port)
	require.Equal(t, 2, source{dotenv: dotenv, env: env}.options(t).Port)
	require.Equal(t, 3, source{dotenv: dotenv, env: env, args: []string{"-p", "3"}}.options(t).Port)
	require.Equal(t, "from-dotenv", source{dotenv: dotenv, env: env}.options(t).Store.Target)
}

func TestEmptyCountsAsAbsent(t *testing.T) {
	o := source{
		dotenv: "LOCKSERVER_PORT=1\nLOCKSERVER_STORE=\n", env: map[string]string{"LOCKSERVER_PORT": "", "LOCKSERVER_BIND_IP": ""}, args: []string{"--port="},
	}.options(t)
	require.Equal(t, 1, o.Port)
	require.Equal(t, "127.0.0.1", o.Bind.String())
	require.Equal(t, "disk:./lockserver-data", o.Store.String())
	require.Contains(t, source{env: map[string]string{"LOCKSERVER_SECRET": ""}}.refused(t), "there is no secret")
}

func TestDotenvIsNotPutIntoTheEnvironment(t *testing.T) {
	source{dotenv: "LOCKSERVER_PORT=1\nSOMETHING_ELSE=x\n"}.options(t)
	for _, name := range []string{"LOCKSERVER_PORT", "SOMETHING_ELSE"} {
		_, set := os.LookupEnv(name)
		require.False(t, set, name)
	}
}

func TestDotenvIsNotExpanded(t *testing.T) {
	for line, want := range map[string]string{
		`LOCKSERVER_SECRET=plain-and-long-enough`:             "plain-and-long-enough",
		`LOCKSERVER_SECRET='single $HOME ${HOME} quotes'`:     "single $HOME ${HOME} quotes",
		`LOCKSERVER_SECRET=pa$HOME${HOME}word-0123`:           "pa$HOME${HOME}word-0123",
		`LOCKSERVER_SECRET="double $HOME quotes"`:             "double $HOME quotes",
		`export LOCKSERVER_SECRET=exported-0123456789`:        "exported-0123456789",
		"\ufeff" + `LOCKSERVER_SECRET=with-a-byte-order-mark`: "with-a-byte-order-mark",
		"LOCKSERVER_SECRET=with-windows-line-end\r\nX=y\r\n":  "with-windows-line-end",
	} {
		o, err := source{dotenv: "HOME=elsewhere\n" + line + "\n"}.load(t)
		if strings.HasPrefix(line, "\ufeff") {
			o, err = source{dotenv: line}.load(t)
		}
		require.NoError(t, err, line)
		require.Equal(t, want, o.Secret.Reveal(), line)
	}
}

func TestBadDotenvIsRefusedWithoutShowingIt(t *testing.T) {
	for _, dotenv := range []string{"LOCKSERVER_SECRET='not-closed-" + good + "\n", "what is " + good + "\n", "A=\x00" + good + "\n"} {
		got := source{dotenv: dotenv}.refused(t)
		require.Contains(t, got, ".env")
		require.NotContains(t, got, good)
	}
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, ".env"), 0o700))
	_, err := config.Load(config.Source{Dir: dir, LookupEnv: func(string) (string, bool) { return "", false }})
	require.ErrorContains(t, err, ".env: cannot be read")
}

func TestEachSettingCanBeSet(t *testing.T) {
	o := source{args: []string{
		"--bind", "::1", "--port", "0", "--store", "memory", "--max-wait", "2.5", "--max-locks", "1", "--max-waiters", "2", "--max-remembered", "0",
		"--max-body", "16384", "--max-connections", "4", "--header-timeout", "500ms", "--idle-timeout", "3m", "--shutdown-timeout", "0",
		"--log-level", "debug", "--log-format", "json", "--ui", "false",
	}, env: map[string]string{"LOCKSERVER_SECRET_PREVIOUS": "the-one-before-it"}}.options(t)
	require.Equal(t, "[::1]:0", o.Address())
	require.Equal(t, config.Store{Kind: "memory"}, o.Store)
	require.Equal(t, 2500*time.Millisecond, o.MaxWait)
	require.Equal(t, []int{1, 2, 0, 16384, 4}, []int{o.MaxLocks, o.MaxWaiters, o.MaxRemembered, o.MaxBody, o.MaxConnections})
	require.Equal(t, []time.Duration{500 * time.Millisecond, 3 * time.Minute, 0}, []time.Duration{o.HeaderTimeout, o.IdleTimeout, o.ShutdownTimeout})
	require.Equal(t, slog.LevelDebug, o.LogLevel)
	require.Equal(t, "json", o.LogFormat)
	require.False(t, o.UI)
	require.Equal(t, "the-one-before-it", o.PreviousSecret.Reveal())
	require.Equal(t, "127.0.0.1", source{args: []string{"-b", "localhost"}}.options(t).Bind.String())
	require.Equal(t, "::", source{args: []string{"-b", "[::]"}}.options(t).Bind.String())
}

func TestBadValuesAreNamedWithWhatIsAllowed(t *testing.T) {
	for flag, values := range map[string][]string{
		"bind":             {"nowhere", "1.2.3", "127.0.0.1:80", "example.com"},
		"port":             {"-1", "65536", "http", "80 ", "1e3", "99999999999999999999"},
		"store":            {"disk", "disk:", "Memory", "memory:", "memory:x", "etcd://x", "/var/lib"},
		"max-wait":         {"-1", "3601", "1h1s", "soon", "NaN", "inf", "1e400", "--5"},
		"max-locks":        {"0", "-5", "1.5", "many"},
		"max-waiters":      {"0", "x"},
		"max-remembered":   {"-1", "x"},
		"max-body":         {"100", "99999999"},
		"max-connections":  {"0"},
		"header-timeout":   {"0", "x"},
		"idle-timeout":     {"0"},
		"shutdown-timeout": {"-1s"},
		"log-level":        {"loud", "INFO+2", "1"},
		"log-format":       {"xml"},
		"ui":               {"no", "0", "True"},
	} {
		variable := "LOCKSERVER_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
		if flag == "bind" {
			variable = "LOCKSERVER_BIND_IP"
		}
		for _, value := range values {
			for _, s := range []source{{args: []string{"--" + flag + "=" + value}}, {env: map[string]string{variable: value}}, {dotenv: variable + "='" + value + "'\n"}} {
				got := s.with().refused(t)
				require.Contains(t, got, "--"+flag)
				require.Contains(t, got, variable)
				require.Contains(t, got, fmt.Sprintf("%q", value))
				require.Contains(t, got, "allowed: ")
			}
		}
	}
}

func TestAllBadValuesAreNamedAtOnce(t *testing.T) {
	got := source{args: []string{"--port", "x", "--store", "y"}}.refused(t)
	require.Contains(t, got, "--port")
	require.Contains(t, got, "--store")
	require.Contains(t, got, "LOCKSERVER_SECRET")
}

func TestUnknownFlagsAndArguments(t *testing.T) {
	require.Contains(t, source{args: []string{"--prot", "1"}}.with().refused(t), "--prot")
	require.Contains(t, source{args: []string{"--secret=" + good}}.with().refused(t), "--secret")
	require.NotContains(t, source{args: []string{"--secret=" + good}}.with().refused(t), good)
	require.Contains(t, source{args: []string{"extra"}}.with().refused(t), "extra")
	require.Contains(t, source{args: []string{"--port"}}.with().refused(t), "--port")
	_, err := source{args: []string{"-h"}}.load(t)
	require.ErrorIs(t, err, config.ErrHelp)
	_, err = source{args: []string{"--version"}}.load(t)
	require.ErrorIs(t, err, config.ErrVersion)
}

func TestSecretRules(t *testing.T) {
	secret := func(v string) source { return source{env: map[string]string{"LOCKSERVER_SECRET": v}} }

	got := source{}.refused(t)
	require.Contains(t, got, "LOCKSERVER_SECRET")
	require.Contains(t, got, "openssl rand -hex 32")

	for _, bad := range []string{"tab\there-0123456789", "ümläut-0123456789", "new\nline-0123456789", " space-in-front-0123", "space-behind-01234 ", strings.Repeat("x", 1025)} {
		got := secret(bad).refused(t)
		require.Contains(t, got, "LOCKSERVER_SECRET: ")
		require.Contains(t, got, "printable ASCII")
		require.NotContains(t, got, strings.TrimSpace(bad)[:8])
	}

	for _, weak := range []string{"changeme", "short", "ChangeMe123", "secret-secret", "0123456789abcde"} {
		o, err := secret(weak).load(t)
		require.NoError(t, err, weak)
		require.Len(t, o.Warnings, 1, weak)
		require.Contains(t, o.Warnings[0], "LOCKSERVER_SECRET")
		require.NotContains(t, o.Warnings[0], weak)
		for _, bind := range []string{"0.0.0.0", "::", "192.168.1.5"} {
			s := secret(weak)
			s.args = []string{"--bind", bind}
			got := s.refused(t)
			require.Contains(t, got, bind)
			require.NotContains(t, got, weak)
		}
		for _, bind := range []string{"127.0.0.2", "::1", "::ffff:127.0.0.1"} {
			s := secret(weak)
			s.args = []string{"--bind", bind}
			_, err := s.load(t)
			require.NoError(t, err, bind)
		}
	}
	for _, strong := range []string{good, "0123456789abcdef", "with inner space 0123"} {
		s := secret(strong)
		s.args = []string{"--bind", "0.0.0.0"}
		o, err := s.load(t)
		require.NoError(t, err, strong)
		require.NotContains(t, strings.Join(o.Warnings, "\n"), "LOCKSERVER_SECRET")
	}
	s := source{env: map[string]string{"LOCKSERVER_SECRET_PREVIOUS": "changeme"}, args: []string{"--bind", "0.0.0.0"}}
	require.Contains(t, s.with().refused(t), "LOCKSERVER_SECRET_PREVIOUS")
}

func TestSecretFile(t *testing.T) {
	files := map[string]string{
		"plain": good, "newline": good + "\n", "windows": good + "\r\n", "two": good + "\n\n", "empty": "", "only-newline": "\n",
		"long": strings.Repeat("x", 5000), "weak": "changeme",
	}
	for _, name := range []string{"plain", "newline", "windows"} {
		for _, s := range []source{
			{files: files, args: []string{"--secret-file", name}},
			{files: files, env: map[string]string{"LOCKSERVER_SECRET_FILE": name}},
			{files: files, dotenv: "LOCKSERVER_SECRET_FILE=" + name + "\n"},
		} {
			o, err := s.load(t)
			require.NoError(t, err)
			require.Equal(t, good, o.Secret.Reveal())
		}
	}
	for name, says := range map[string]string{
		"two": "not printable ASCII", "empty": "no secret in it", "only-newline": "no secret in it", "long": "printable ASCII", "missing": "cannot be read", ".": "cannot be read",
	} {
		got := source{files: files, args: []string{"--secret-file", name}}.refused(t)
		require.Contains(t, got, says, name)
		require.NotContains(t, got, good)
	}
	got := source{files: files, args: []string{"--secret-file", "plain"}}.with().refused(t)
	require.Contains(t, got, "LOCKSERVER_SECRET")
	require.Contains(t, got, "--secret-file")
	require.Contains(t, got, "one of them")
}

func TestSecretIsNeverShown(t *testing.T) {
	o := source{env: map[string]string{"LOCKSERVER_SECRET_PREVIOUS": good + "-before"}}.options(t)
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		require.NotContains(t, fmt.Sprintf(format, o), good, format)
		require.NotContains(t, fmt.Sprintf(format, *o), good, format)
		require.NotContains(t, fmt.Sprintf(format, o.Secret), good, format)
		require.NotContains(t, fmt.Sprintf(format, []any{o.Secret, &o.Secret}), good, format)
		require.NotContains(t, fmt.Sprintf(format, o), fmt.Sprintf("%x", good), format)
	}
	b, err := json.Marshal(o)
	require.NoError(t, err)
	require.NotContains(t, string(b), good)
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "options", o, "secret", o.Secret)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "options", o, "secret", o.Secret)
	require.NotContains(t, log.String(), good)
	require.Contains(t, log.String(), "(hidden)")
}

func TestWithoutNeedOfASecretNoneIsRead(t *testing.T) {
	_, err := config.Load(config.Source{Dir: t.TempDir(), LookupEnv: func(string) (string, bool) { return "", false }})
	require.NoError(t, err)
}

func TestHelpNamesEachSetting(t *testing.T) {
	help := config.Help()
	for _, want := range []string{
		"-b, --bind", "-p, --port", "--secret-file", "--store", "--max-wait", "--max-locks", "--max-waiters", "--max-remembered", "--max-body",
		"--max-connections", "--header-timeout", "--idle-timeout", "--shutdown-timeout", "--log-level", "--log-format",
		"LOCKSERVER_BIND_IP", "LOCKSERVER_PORT", "LOCKSERVER_SECRET\n", "LOCKSERVER_SECRET_FILE", "LOCKSERVER_SECRET_PREVIOUS", "LOCKSERVER_STORE",
		"LOCKSERVER_MAX_WAIT", "LOCKSERVER_MAX_LOCKS", "LOCKSERVER_MAX_WAITERS", "LOCKSERVER_MAX_REMEMBERED", "LOCKSERVER_SHUTDOWN_TIMEOUT",
		"LOCKSERVER_LOG_LEVEL", "LOCKSERVER_LOG_FORMAT", "[60s]", "[1000000]", "[100000]", "[65536]",
	} {
		require.Contains(t, strings.ReplaceAll(help, "LOCKSERVER_SECRET ", "LOCKSERVER_SECRET\n"), want)
	}
}

func FuzzSettings(f *testing.F) {
	f.Add("--port=1", "LOCKSERVER_STORE=memory\n", "5s")
	f.Add("--max-wait", "LOCKSERVER_SECRET='x'\n#", "")
	f.Add("-p0", "A=\"\\n${B}\"\nB=$A", "1e9")
	f.Fuzz(func(t *testing.T, arg, dotenv, wait string) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, ".env"), []byte(dotenv), 0o600))
		o, err := config.Load(config.Source{
			Args: []string{arg}, Dir: dir, NeedsSecret: true,
			LookupEnv: func(name string) (string, bool) {
				return map[string]string{"LOCKSERVER_MAX_WAIT": wait, "LOCKSERVER_SECRET": good}[name], true
			},
		})
		if err != nil {
			require.NotEmpty(t, err.Error())
			require.NotContains(t, err.Error(), good)
			return
		}
		require.True(t, o.MaxWait >= 0 && o.MaxWait <= time.Hour)
		require.True(t, o.Port >= 0 && o.Port <= 65535)
		require.True(t, o.Bind.IsValid())
	})
}
