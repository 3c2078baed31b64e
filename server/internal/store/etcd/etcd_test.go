package etcd_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/lockserver/lockserver/server/internal/etcdtest"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store"
	"github.com/lockserver/lockserver/server/internal/store/etcd"
	"github.com/lockserver/lockserver/server/internal/store/storetest"
)

func TestMain(m *testing.M) { etcdtest.Main(m) }

// prefixes counts clusters, as tests share an etcd.
var prefixes atomic.Int64

// server is one that takes part in a cluster.
type server struct {
	*etcd.Cluster
	leader chan string // who leads, as it was told last
}

// join makes a server of the cluster with that prefix.
func join(tb testing.TB, members []*etcdtest.Member, prefix string, change ...func(*etcd.Config)) *server {
	tb.Helper()
	s := &server{leader: make(chan string, 100)}
	cfg := etcd.Config{
		Prefix: prefix, Advertise: "http://server-" + strconv.FormatInt(prefixes.Add(1), 10), TTL: 5 * time.Second,
		Logger: slog.New(slog.DiscardHandler), Leader: func(url string) { s.leader <- url },
	}
	for _, m := range members {
		cfg.Endpoints = append(cfg.Endpoints, m.URL)
	}
	for _, c := range change {
		c(&cfg)
	}
	s.Cluster = etcd.New(cfg)
	tb.Cleanup(func() { require.NoError(tb, s.Cluster.Close()) })
	return s
}

func newPrefix() string { return "/test/" + strconv.FormatInt(prefixes.Add(1), 10) }

// lead opens the store, which is closed with the test.
func (s *server) lead(t *testing.T) store.Store {
	t.Helper()
	st, err := s.Open(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, st.Close()) })
	return st
}

// client returns one that a test may do harm with.
func client(t *testing.T, members []*etcdtest.Member) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{members[0].URL}, Logger: zap.NewNop()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close()) })
	return c
}

func TestContract(t *testing.T) {
	members := etcdtest.Start(t, 1, "--unsafe-no-fsync")
	storetest.Run(t, func(tb testing.TB) func() (store.Store, error) {
		s := join(tb, members, newPrefix(), func(c *etcd.Config) { c.Leader = func(string) {} })
		return func() (store.Store, error) { return s.Open(context.Background()) }
	})
}

func put(token int64, last bool) lock.Change {
	return lock.Change{Last: last, Record: lock.Record{Resource: "r", Owner: "o", Token: token}}
}

func TestOneLeadsAndTheNextFindsItsGrants(t *testing.T) {
	members, prefix := etcdtest.Start(t, 1, "--unsafe-no-fsync"), newPrefix()
	first, second := join(t, members, prefix), join(t, members, prefix)
	leading := first.lead(t)
	require.Empty(t, <-first.leader)
	type opened struct {
		store store.Store
		err   error
	}
	next := make(chan opened, 1)
	go func() {
		st, err := second.Open(t.Context())
		next <- opened{st, err}
	}()
	require.NotEmpty(t, <-second.leader, "it stands by, and knows who leads")
	storetest.Commit(t, leading, put(7, true))
	require.NoError(t, leading.Close())
	got := <-next
	require.NoError(t, got.err)
	defer func() { require.NoError(t, got.store.Close()) }()
	records, last := storetest.Load(t, got.store)
	require.Len(t, records, 1)
	require.EqualValues(t, 7, last)
}

func TestStandingByEndsWithItsContext(t *testing.T) {
	members, prefix := etcdtest.Start(t, 1, "--unsafe-no-fsync"), newPrefix()
	first, second := join(t, members, prefix), join(t, members, prefix)
	first.lead(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := second.Open(ctx)
		ended <- err
	}()
	<-second.leader
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
	left, err := client(t, members).Get(t.Context(), prefix+"/leader/", clientv3.WithPrefix())
	require.NoError(t, err)
	require.Len(t, left.Kvs, 1, "a candidate that gave up leaves nothing behind")
}

// A leader whose key is gone can neither write nor confirm anything, however it lost the key.
func TestFence(t *testing.T) {
	members := etcdtest.Start(t, 1, "--unsafe-no-fsync")
	for name, changes := range map[string][]lock.Change{
		"a grant": {put(8, true)}, "a release": {remove(7)}, "a confirmation": nil,
	} {
		t.Run(name, func(t *testing.T) {
			prefix := newPrefix()
			old := join(t, members, prefix).lead(t)
			storetest.Commit(t, old, put(7, true))
			harm := client(t, members)
			keys, err := harm.Get(t.Context(), prefix+"/leader/", clientv3.WithPrefix())
			require.NoError(t, err)
			// Even if the same key is there again.
			_, err = harm.Delete(t.Context(), string(keys.Kvs[0].Key))
			require.NoError(t, err)
			_, err = harm.Put(t.Context(), string(keys.Kvs[0].Key), string(keys.Kvs[0].Value), clientv3.WithLease(clientv3.LeaseID(keys.Kvs[0].Lease)))
			require.NoError(t, err)
			require.ErrorIs(t, old.Commit(t.Context(), changes), store.ErrReplaced)
			<-old.Lost()
			require.ErrorIs(t, old.Err(), store.ErrReplaced)
			require.NoError(t, old.Close())
			records, last := storetest.Load(t, join(t, members, prefix).lead(t))
			require.Equal(t, []lock.Record{put(7, true).Record}, records)
			require.EqualValues(t, 7, last)
		})
	}
}

func TestALeaseThatEtcdEndedIsNoticedBetweenCommits(t *testing.T) {
	members, prefix := etcdtest.Start(t, 1, "--unsafe-no-fsync"), newPrefix()
	old := join(t, members, prefix, func(c *etcd.Config) { c.TTL = 2 * time.Second }).lead(t)
	harm := client(t, members)
	keys, err := harm.Get(t.Context(), prefix+"/leader/", clientv3.WithPrefix())
	require.NoError(t, err)
	_, err = harm.Revoke(t.Context(), clientv3.LeaseID(keys.Kvs[0].Lease))
	require.NoError(t, err)
	<-old.Lost()
	require.ErrorIs(t, old.Err(), store.ErrReplaced)
}

// Of what was sent several times, as its answers were lost, each transaction takes effect once, and in order.
func TestLostAnswers(t *testing.T) {
	members, prefix := etcdtest.Start(t, 1, "--unsafe-no-fsync"), newPrefix()
	proxy := newProxy(t, members[0].URL)
	st := join(t, members, prefix, func(c *etcd.Config) { c.Endpoints = []string{proxy.url} }).lead(t)
	for token := int64(1); token <= 5; token++ {
		proxy.loseAnswer()
		storetest.Commit(t, st, put(token, true))
		proxy.loseAnswer()
		storetest.Commit(t, st)
		if token > 1 {
			proxy.loseAnswer()
			storetest.Commit(t, st, remove(token-1))
		}
	}
	require.NoError(t, st.Err())
	records, last := storetest.Load(t, st)
	require.Equal(t, []lock.Record{put(5, true).Record}, records)
	require.EqualValues(t, 5, last)
}

// A group that is larger than a transaction lands in order, and smaller ones stay whole.
func TestGroupsAndTheLimitOfATransaction(t *testing.T) {
	members, prefix := etcdtest.Start(t, 1, "--unsafe-no-fsync"), newPrefix()
	st := join(t, members, prefix, func(c *etcd.Config) { c.MaxOperations = 4 }).lead(t)
	storetest.Commit(t, st, put(1, false), put(2, true), put(3, false), put(4, true), put(5, false), put(6, false), put(7, false), put(8, false), put(9, true), put(10, true))
	together := map[int64][]int64{}
	for token := int64(1); token <= 10; token++ {
		r, err := client(t, members).Get(t.Context(), prefix+"/grant/"+fmt.Sprintf("%016x", token))
		require.NoError(t, err)
		require.Len(t, r.Kvs, 1, "token %d", token)
		together[r.Kvs[0].ModRevision] = append(together[r.Kvs[0].ModRevision], token)
	}
	require.ElementsMatch(t, [][]int64{{1, 2}, {3, 4}, {5, 6, 7}, {8, 9, 10}}, slices.Collect(maps.Values(together)))
}

// Of a group that is too large for a transaction, what lands before the leader is fenced off is a prefix.
func TestLargeGroupOfAFencedLeader(t *testing.T) {
	const size = 50_000
	members, prefix := etcdtest.Start(t, 1, "--unsafe-no-fsync"), newPrefix()
	old, harm := join(t, members, prefix).lead(t), client(t, members)
	var group []lock.Change
	for token := range int64(size) {
		group = append(group, put(token+1, token == size-1))
	}
	landing := harm.Watch(t.Context(), prefix+"/sequence")
	committed := make(chan error, 1)
	go func() { committed <- old.Commit(t.Context(), group) }()
	<-landing
	_, err := harm.Delete(t.Context(), prefix+"/leader/", clientv3.WithPrefix())
	require.NoError(t, err)
	require.ErrorIs(t, <-committed, store.ErrReplaced)
	records, last := storetest.Load(t, join(t, members, prefix).lead(t))
	require.NotEmpty(t, records)
	require.Less(t, len(records), size)
	require.EqualValues(t, len(records), last)
	require.Equal(t, last, records[len(records)-1].Token)
}

// What is loaded in pages is of one moment, whatever happens meanwhile.
func TestLoadOfManyPages(t *testing.T) {
	const size = 12_345
	members, prefix := etcdtest.Start(t, 1, "--unsafe-no-fsync"), newPrefix()
	st, harm := join(t, members, prefix).lead(t), client(t, members)
	var changes []lock.Change
	for token := range int64(size) {
		changes = append(changes, put(token+1, true))
	}
	storetest.Commit(t, st, changes...)
	loaded := map[int64]bool{}
	last, err := st.Load(t.Context(), func(r lock.Record) error {
		if len(loaded) == 0 {
			_, err := harm.Delete(t.Context(), prefix+"/grant/", clientv3.WithPrefix())
			require.NoError(t, err)
		}
		loaded[r.Token] = true
		return nil
	})
	require.NoError(t, err)
	require.Len(t, loaded, size)
	require.EqualValues(t, size, last)
	records, _ := storetest.Load(t, st)
	require.Empty(t, records)
}

func TestWhatCannotBeReadIsRefused(t *testing.T) {
	members := etcdtest.Start(t, 1, "--unsafe-no-fsync")
	for name, test := range map[string]struct {
		key  string
		harm func(value []byte) []byte
		want error
	}{
		"a damaged grant":       {"/grant/0000000000000007", func(v []byte) []byte { v[len(v)/2] ^= 1; return v }, store.ErrCorrupt},
		"a strange key":         {"/grant/x", func([]byte) []byte { return []byte("x") }, store.ErrCorrupt},
		"a token from nowhere":  {"/grant/0000000000000008", func([]byte) []byte { return []byte("x") }, store.ErrCorrupt},
		"a damaged sequence":    {"/sequence", func(v []byte) []byte { v[3] ^= 1; return v }, store.ErrCorrupt},
		"a newer version's":     {"/sequence", func(v []byte) []byte { v[0]++; return v }, store.ErrFormat},
		"a sequence cut short ": {"/sequence", func(v []byte) []byte { return v[:8] }, store.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			prefix, harm := newPrefix(), client(t, members)
			s := join(t, members, prefix)
			st := s.lead(t)
			storetest.Commit(t, st, put(7, true))
			require.NoError(t, st.Close())
			value := []byte{}
			if r, err := harm.Get(t.Context(), prefix+test.key); err == nil && len(r.Kvs) > 0 {
				value = r.Kvs[0].Value
			}
			_, err := harm.Put(t.Context(), prefix+test.key, string(test.harm(value)))
			require.NoError(t, err)
			again, err := s.Open(t.Context())
			if err == nil {
				_, err = again.Load(t.Context(), func(lock.Record) error { return nil })
				require.NoError(t, again.Close())
			}
			require.ErrorIs(t, err, test.want)
		})
	}
}

func remove(token int64) lock.Change {
	return lock.Change{Delete: true, Last: true, Record: lock.Record{Resource: "r", Token: token}}
}

// An etcd that is full takes no grant, but releases, and a confirmation. What it refused was not done. The server that leads, leads on,
// and grants again once there is room.
func TestFullEtcd(t *testing.T) {
	members, prefix := etcdtest.Start(t, 1, "--unsafe-no-fsync", "--quota-backend-bytes", "200000"), newPrefix()
	s, harm := join(t, members, prefix), client(t, members)
	candidates := func() []*mvccpb.KeyValue {
		r, err := harm.Get(t.Context(), prefix+"/leader/", clientv3.WithPrefix())
		require.NoError(t, err)
		return r.Kvs
	}
	st, err := s.Open(t.Context())
	require.NoError(t, err)
	full, _ := st.(store.Bounded).Full()
	require.False(t, full)
	storetest.Commit(t, st, put(7, true), put(8, true))
	leads := candidates()
	etcdtest.Fill(t, harm)
	storetest.Commit(t, st)
	storetest.Commit(t, st, remove(7))
	require.NoError(t, st.Err())
	require.ErrorIs(t, st.Commit(t.Context(), []lock.Change{put(9, true)}), rpctypes.ErrNoSpace)
	<-st.Lost()
	require.ErrorIs(t, st.Err(), store.ErrReplaced)
	require.NoError(t, st.Close())

	again := s.lead(t)
	require.Equal(t, leads, candidates(), "it leads on")
	full, changed := again.(store.Bounded).Full()
	require.True(t, full)
	records, last := storetest.Load(t, again)
	require.Len(t, records, 1)
	require.EqualValues(t, 8, last)
	storetest.Commit(t, again, remove(8))
	storetest.Commit(t, again)

	etcdtest.MakeRoom(t, harm)
	<-changed
	full, _ = again.(store.Bounded).Full()
	require.False(t, full)
	storetest.Commit(t, again, put(10, true))
}

// A store that was closed as etcd was full resigns with its cluster.
func TestFullEtcdAtTheEnd(t *testing.T) {
	members, prefix := etcdtest.Start(t, 1, "--unsafe-no-fsync", "--quota-backend-bytes", "200000"), newPrefix()
	s, harm := join(t, members, prefix), client(t, members)
	st, err := s.Open(t.Context())
	require.NoError(t, err)
	etcdtest.Fill(t, harm)
	require.ErrorIs(t, st.Commit(t.Context(), []lock.Change{put(9, true)}), rpctypes.ErrNoSpace)
	require.NoError(t, st.Close())
	require.NoError(t, s.Cluster.Close())
	left, err := harm.Get(t.Context(), prefix+"/leader/", clientv3.WithPrefix())
	require.NoError(t, err)
	require.Empty(t, left.Kvs)
}

// Transactions go on when the member of etcd that leads is lost or hangs, to which they are sent, and find the next one that does.
func TestEtcdsLeaderIsLost(t *testing.T) {
	for name, harm := range map[string]func(*etcdtest.Member){
		"killed": (*etcdtest.Member).Kill,
		"paused": func(m *etcdtest.Member) { require.NoError(t, m.Signal(syscall.SIGSTOP)) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			members, prefix := etcdtest.Start(t, 3, "--unsafe-no-fsync", "--heartbeat-interval", "50", "--election-timeout", "500"), newPrefix()
			st := join(t, members, prefix).lead(t)
			for token := range int64(20) {
				storetest.Commit(t, st, put(token+1, true))
				if token == 10 {
					harm(members[leader(t, members)])
				}
			}
			storetest.Commit(t, st)
			records, last := storetest.Load(t, st)
			require.Len(t, records, 20)
			require.EqualValues(t, 20, last)
		})
	}
}

// leader returns which member of etcd leads.
func leader(t *testing.T, members []*etcdtest.Member) (leads int) {
	t.Helper()
	for i, m := range members {
		status, err := client(t, members).Status(t.Context(), m.URL)
		require.NoError(t, err)
		if status.Leader == status.Header.MemberId {
			leads = i
		}
	}
	return leads
}
