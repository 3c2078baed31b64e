package config

import (
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// setting is one row of the table from which flags, variables, checks and help are made.
type setting struct {
	flag     string // "" if a flag would show a secret in the list of processes
	short    string
	variable string
	arg      string // what the help calls the value
	fallback string
	about    string
	allowed  string
	set      func(o *Options, value string) bool // returns false if value is not allowed
}

// name returns what errors call the setting.
func (s *setting) name() string {
	if s.flag == "" {
		return s.variable
	}
	return "--" + s.flag + " (" + s.variable + ")"
}

// group is a section of the help.
type group struct {
	title    string
	settings []setting
}

const (
	secretVariable   = "LOCKSERVER_SECRET"
	previousVariable = "LOCKSERVER_SECRET_PREVIOUS"
	secretFileFlag   = "secret-file"
	previousFileFlag = "secret-previous-file"

	etcdPasswordFileFlag = "etcd-password-file"
	certFlag             = "tls-cert"
	keyFlag              = "tls-key"
	clientCAFlag         = "tls-client-ca"
)

func groups() []group {
	return []group{
		{"Where it listens", []setting{
			{
				flag: "bind", short: "b", variable: "LOCKSERVER_BIND_IP", arg: "ADDRESS", fallback: "127.0.0.1",
				about:   "IP address to listen on; 0.0.0.0 or :: for all",
				allowed: "an IP address such as 127.0.0.1, 0.0.0.0 or ::1, or localhost", set: setBind,
			},
			{
				flag: "port", short: "p", variable: "LOCKSERVER_PORT", arg: "PORT", fallback: "8080",
				about:   "port to listen on; 0 picks one, and the ready line says which",
				allowed: "a whole number from 0 to 65535", set: integer(0, 65535, func(o *Options) *int { return &o.Port }),
			},
		}},
		{"Encryption: TLS 1.2 and up, with HTTP/2", []setting{
			{
				flag: certFlag, variable: "LOCKSERVER_TLS_CERT", arg: "FILE", about: "certificate, with its chain, in PEM; read again when it changes",
				allowed: "a file that can be read", set: func(o *Options, v string) bool { o.TLSCert = v; return true },
			},
			{
				flag: keyFlag, variable: "LOCKSERVER_TLS_KEY", arg: "FILE", about: "its private key, in PEM",
				allowed: "a file that can be read", set: func(o *Options, v string) bool { o.TLSKey = v; return true },
			},
			{
				flag: clientCAFlag, variable: "LOCKSERVER_TLS_CLIENT_CA", arg: "FILE",
				about:   "PEM certificates that issue those of clients; whoever shows none cannot connect",
				allowed: "a file that can be read", set: func(o *Options, v string) bool { o.TLSClientCA = v; return true },
			},
		}},
		{"Secret that clients must send", []setting{
			{
				variable: secretVariable, arg: "SECRET", about: "the secret; " + howToMakeSecret,
				set: func(o *Options, v string) bool { o.Secret = NewSecret(v); return true },
			},
			{
				flag: secretFileFlag, variable: "LOCKSERVER_SECRET_FILE", arg: "FILE", about: "read the secret from a file (a Docker or Kubernetes secret), again when it changes",
				allowed: "a file that can be read, with the secret in it", set: func(o *Options, v string) bool { o.SecretFile = v; return true },
			},
			{
				variable: previousVariable, arg: "SECRET", about: "an older secret that is accepted too, to change secrets without a gap",
				set: func(o *Options, v string) bool { o.PreviousSecret = NewSecret(v); return true },
			},
			{
				flag: previousFileFlag, variable: "LOCKSERVER_SECRET_PREVIOUS_FILE", arg: "FILE", about: "read that from a file, again when it changes; it may be missing or empty",
				allowed: "a file with the secret in it, or none", set: func(o *Options, v string) bool { o.PreviousSecretFile = v; return true },
			},
		}},
		{"Where locks are kept", []setting{
			{
				flag: "store", variable: "LOCKSERVER_STORE", arg: "STORE", fallback: "disk:./lockserver-data",
				about:   "disk:DIR survives a crash; memory does not; etcd:URLS/PREFIX",
				allowed: "disk:DIR, memory or etcd:URL,URL…/PREFIX, with all URLs http or all https", set: setStore,
			},
			count("disk-reserve", "bytes that disk:DIR keeps back, for releases on a full disk", 32<<20, 1<<20, 1<<40, func(o *Options) *int { return &o.DiskReserve }),
		}},
		{"Cluster: servers with the same PREFIX in etcd", []setting{
			{
				flag: "advertise", variable: "LOCKSERVER_ADVERTISE", arg: "URL",
				about:   "where the others reach this one; else where it listens, or the host name",
				allowed: "a URL such as http://10.0.0.1:8080", set: func(o *Options, v string) bool { o.Etcd.Advertise = v; return v == "" || isURL(v) },
			},
			seconds("election-ttl", "time after which a leader that etcd does not hear of is replaced", 5*time.Second, 2*time.Second, time.Minute, func(o *Options) *time.Duration { return &o.Etcd.ElectionTTL }),
			{
				flag: "etcd-user", variable: "LOCKSERVER_ETCD_USER", arg: "NAME", about: "name of the user of etcd",
				set: func(o *Options, v string) bool { o.Etcd.User = v; return true },
			},
			{
				variable: "LOCKSERVER_ETCD_PASSWORD", arg: "PASSWORD", about: "the user's password",
				set: func(o *Options, v string) bool { o.Etcd.Password = NewSecret(v); return true },
			},
			{
				flag: etcdPasswordFileFlag, variable: "LOCKSERVER_ETCD_PASSWORD_FILE", arg: "FILE", about: "read the password from a file",
				allowed: "a file that can be read, with the password in it", set: func(*Options, string) bool { return true },
			},
			{
				flag: "etcd-ca", variable: "LOCKSERVER_ETCD_CA", arg: "FILE", about: "certificates that etcd's is checked with, in PEM; else the system's",
				allowed: "a file that can be read", set: func(o *Options, v string) bool { o.Etcd.CA = v; return true },
			},
			{
				flag: "etcd-cert", variable: "LOCKSERVER_ETCD_CERT", arg: "FILE", about: "certificate that this server shows to etcd, in PEM",
				allowed: "a file that can be read", set: func(o *Options, v string) bool { o.Etcd.Cert = v; return true },
			},
			{
				flag: "etcd-key", variable: "LOCKSERVER_ETCD_KEY", arg: "FILE", about: "its private key, in PEM",
				allowed: "a file that can be read", set: func(o *Options, v string) bool { o.Etcd.Key = v; return true },
			},
		}},
		{"Limits", []setting{
			seconds("max-wait", "longest time that one request may wait for a lock", 60*time.Second, 0, time.Hour, func(o *Options) *time.Duration { return &o.MaxWait }),
			seconds("max-hold", "longest time that a lock may be held, however often it is renewed; 0 for any", 0, 0, 10*365*24*time.Hour, func(o *Options) *time.Duration { return &o.MaxHold }),
			count("max-locks", "locks held at one time", 1_000_000, 1, 100_000_000, func(o *Options) *int { return &o.MaxLocks }),
			count("max-waiters", "waiting requests and kept places at one time", 100_000, 1, 10_000_000, func(o *Options) *int { return &o.MaxWaiters }),
			count("max-remembered", "ended ids that are remembered", 1_000_000, 0, 100_000_000, func(o *Options) *int { return &o.MaxRemembered }),
			count("max-body", "bytes in the body of a request", 64<<10, 16<<10, 64<<10, func(o *Options) *int { return &o.MaxBody }),
			count("max-connections", "connections at one time; more are closed at once", 50_000, 1, 10_000_000, func(o *Options) *int { return &o.MaxConnections }),
			count("max-handshakes", "TLS handshakes at one time; of more, those that wait for their clients end", 10_000, 1, 1_000_000, func(o *Options) *int { return &o.MaxHandshakes }),
			count("max-wrong-secrets", "wrong secrets a minute from one address (IPv6: a /64); 0 for no limit", 100, 0, 1_000_000_000, func(o *Options) *int { return &o.MaxWrongSecrets }),
			count("max-session-operations", "unanswered requests of one session, besides those that wait; more are not read", 16_384, 1, 1_000_000, func(o *Options) *int { return &o.MaxSessionOperations }),
			count("max-session-unsent", "bytes of answers that wait for a session to take them", 1<<20, 1<<10, 1<<30, func(o *Options) *int { return &o.MaxSessionUnsent }),
			count("max-event-readers", "readers of events at one time", 1000, 1, 100_000, func(o *Options) *int { return &o.MaxEventReaders }),
			seconds("session-timeout", "time after which a session that takes no answers is closed", 30*time.Second, time.Millisecond, time.Hour, func(o *Options) *time.Duration { return &o.SessionTimeout }),
			seconds("header-timeout", "time for a TLS handshake, for a request's headers, and again for its body", 5*time.Second, time.Millisecond, time.Hour, func(o *Options) *time.Duration { return &o.HeaderTimeout }),
			seconds("idle-timeout", "time that a connection may do nothing between requests", 120*time.Second, time.Millisecond, 24*time.Hour, func(o *Options) *time.Duration { return &o.IdleTimeout }),
			seconds("shutdown-timeout", "time for requests to finish after SIGTERM", 10*time.Second, 0, time.Hour, func(o *Options) *time.Duration { return &o.ShutdownTimeout }),
		}},
		{"What people see", []setting{
			{
				flag: "ui", variable: "LOCKSERVER_UI", arg: "BOOL", fallback: "true", about: "the dashboard at /ui",
				allowed: "true or false", set: func(o *Options, v string) bool { o.UI = v == "true"; return v == "true" || v == "false" },
			},
			seconds("stuck-after", "time after which a holder whom others wait for is called stuck; 0 for never", 10*time.Minute, 0, 10*365*24*time.Hour, func(o *Options) *time.Duration { return &o.StuckAfter }),
			count("history", "events kept for GET /history, with up to 500 bytes each on average; 0 for none", 0, 0, 100_000_000, func(o *Options) *int { return &o.History }),
			{
				flag: "history-file", variable: "LOCKSERVER_HISTORY_FILE", arg: "FILE",
				about:   "write events, and who asked for what, as JSON lines; --history reads it back",
				allowed: "a file that can be written", set: func(o *Options, v string) bool { o.HistoryFile = v; return true },
			},
			count("history-file-size", "bytes after which another file is begun, and FILE is FILE.1", 64<<20, 4<<10, 1<<40, func(o *Options) *int { return &o.HistoryFileSize }),
			count("history-files", "files at most; the oldest is deleted", 4, 1, 1000, func(o *Options) *int { return &o.HistoryFiles }),
		}},
		{"Logs, on standard error", []setting{
			{
				flag: "log-level", variable: "LOCKSERVER_LOG_LEVEL", arg: "LEVEL", fallback: "info",
				about:   "debug, info, warn or error; debug logs every request",
				allowed: "debug, info, warn or error", set: setLogLevel,
			},
			{
				flag: "log-format", variable: "LOCKSERVER_LOG_FORMAT", arg: "FORMAT", fallback: "text", about: "text or json",
				allowed: "text or json", set: func(o *Options, v string) bool { o.LogFormat = v; return v == "text" || v == "json" },
			},
		}},
	}
}

func setBind(o *Options, value string) bool {
	if value == "localhost" {
		value = "127.0.0.1"
	}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(value, "["), "]"))
	o.Bind = addr
	return err == nil
}

func setStore(o *Options, value string) bool {
	kind, target, found := strings.Cut(value, ":")
	o.Store = Store{Kind: kind, Target: target}
	switch kind {
	case "memory":
		return !found
	case "disk":
		return target != ""
	case "etcd":
		return setEtcd(o, target)
	}
	return false
}

func setLogLevel(o *Options, value string) bool {
	switch value {
	case "debug", "info", "warn", "error":
		return o.LogLevel.UnmarshalText([]byte(value)) == nil
	}
	o.LogLevel = slog.LevelInfo
	return false
}

func integer(least, most int, at func(*Options) *int) func(*Options, string) bool {
	return func(o *Options, value string) bool {
		n, err := strconv.Atoi(value)
		*at(o) = n
		return err == nil && n >= least && n <= most
	}
}

func count(flag, about string, fallback, least, most int, at func(*Options) *int) setting {
	return setting{
		flag: flag, variable: variableOf(flag), arg: "N", fallback: strconv.Itoa(fallback), about: about,
		allowed: fmt.Sprintf("a whole number from %d to %d", least, most),
		set:     integer(least, most, at),
	}
}

func seconds(flag, about string, fallback, least, most time.Duration, at func(*Options) *time.Duration) setting {
	return setting{
		flag: flag, variable: variableOf(flag), arg: "TIME", fallback: showTime(fallback), about: about,
		allowed: fmt.Sprintf("seconds such as 30 or 2.5, or a time such as 500ms or 2m, from %s to %s", showTime(least), showTime(most)),
		set: func(o *Options, value string) bool {
			d, ok := parseTime(value)
			*at(o) = d
			return ok && d >= least && d <= most
		},
	}
}

// parseTime parses seconds, or a duration with units. It rejects what does not fit into a time.Duration.
func parseTime(value string) (time.Duration, bool) {
	if d, err := time.ParseDuration(value); err == nil {
		return d, true
	}
	if strings.Trim(value, "0123456789.") != "" {
		return 0, false
	}
	d, err := time.ParseDuration(value + "s")
	return d, err == nil
}

func showTime(d time.Duration) string {
	if d%time.Second == 0 {
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	}
	return d.String()
}

func variableOf(flag string) string {
	return "LOCKSERVER_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}
