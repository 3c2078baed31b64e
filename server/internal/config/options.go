// Package config reads the settings of the server. A flag overrides the environment, which overrides the file .env in the working
// directory.
package config

import (
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"time"
)

// Options are the settings of a server. Get them from [Load], which checks them.
type Options struct {
	Bind               netip.Addr
	Port               int    // 0 means that the system picks one
	TLSCert            string // files of a certificate and its key; "" means no encryption
	TLSKey             string
	TLSClientCA        string // file of the certificates that issue those of clients; "" means that clients need none
	Secret             Secret
	PreviousSecret     Secret // also accepted, if set
	SecretFile         string // where Secret is from, or ""; see ReadSecrets
	PreviousSecretFile string // the same of PreviousSecret
	Store              Store
	DiskReserve        int  // bytes, if the store is disk
	Etcd               Etcd // if the store is etcd

	MaxWait        time.Duration
	MaxHold        time.Duration // 0 for none
	MaxLocks       int
	MaxWaiters     int
	MaxRemembered  int
	MaxBody        int // bytes
	MaxConnections int

	MaxHandshakes        int
	MaxWrongSecrets      int
	MaxSessionOperations int
	MaxSessionUnsent     int // bytes
	SessionTimeout       time.Duration
	MaxEventReaders      int
	UI                   bool
	StuckAfter           time.Duration // 0 for never
	History              int           // events
	HistoryFile          string        // "" for none
	HistoryFileSize      int           // bytes
	HistoryFiles         int

	HeaderTimeout   time.Duration
	IdleTimeout     time.Duration
	ShutdownTimeout time.Duration

	LogLevel  slog.Level
	LogFormat string // "text" or "json"

	// Warnings are what the person who starts the server should know, although it starts.
	Warnings []string
}

// Store says where grants are kept.
type Store struct {
	Kind   string // "memory", "disk" or "etcd"
	Target string // the directory of a disk store, or the URLs and the prefix of etcd
}

// Etcd says how to reach etcd, and how to be reached by the other servers of the cluster.
type Etcd struct {
	Endpoints   []string // URLs
	Prefix      string   // of all keys
	User        string   // "" for none
	Password    Secret
	CA          string // file; "" means the system's certificates
	Cert        string // files of a certificate for this client, and its key; "" means none
	Key         string
	Advertise   string // URL; "" means that it follows from where the server listens
	ElectionTTL time.Duration
}

func (s Store) String() string {
	if s.Target == "" {
		return s.Kind
	}
	return s.Kind + ":" + s.Target
}

// Address returns the address to listen on.
func (o *Options) Address() string {
	return net.JoinHostPort(o.Bind.String(), strconv.Itoa(o.Port))
}
