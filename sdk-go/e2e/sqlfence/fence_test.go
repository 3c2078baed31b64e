// Package sqlfence shows the fencing token at work in a real SQL database. It is apart from the other tests because the race detector
// makes that database slow.
package sqlfence

import (
	"context"
	"database/sql"
	"errors"
	"path/filepath"
	"testing"
	"time"

	_ "github.com/ncruces/go-sqlite3/driver" // a real SQL database, for the fence
	_ "github.com/ncruces/go-sqlite3/embed"
	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/internal/servertest"
)

// The example of Lock.Token against a real database: a holder that comes too late changes nothing.
func TestTokenAsAFenceInSQL(t *testing.T) {
	dir := t.TempDir()
	binary, err := servertest.Build(dir)
	require.NoError(t, err)
	server, err := servertest.Start(binary, dir, "--store", "memory")
	require.NoError(t, err)
	defer server.Kill()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	client, err := lockserver.New(lockserver.WithAddr(server.URL), lockserver.WithSecret(servertest.Secret), lockserver.WithoutDotEnv(),
		lockserver.WithTransport(lockserver.HTTP)) // over a session it would be told in time
	require.NoError(t, err)
	defer client.Close()
	db, err := sql.Open("sqlite3", "file:"+filepath.ToSlash(filepath.Join(dir, "accounts.db")))
	require.NoError(t, err)
	defer db.Close()
	_, err = db.ExecContext(ctx, `CREATE TABLE accounts (id INTEGER PRIMARY KEY, balance INTEGER, token INTEGER)`)
	require.NoError(t, err)
	_, err = db.ExecContext(ctx, `INSERT INTO accounts VALUES (7, 100, 0)`)
	require.NoError(t, err)

	withdraw := func(meanwhile func()) error {
		err := client.WithLock(ctx, "account/7", func(ctx context.Context) error {
			meanwhile()
			token := lockserver.FromContext(ctx).Token()
			result, err := db.ExecContext(ctx,
				`UPDATE accounts SET balance = balance - 10, token = $1 WHERE id = $2 AND token <= $1`, token, 7)
			if err != nil {
				return err
			}
			if changed, err := result.RowsAffected(); err != nil || changed == 0 {
				return errors.Join(err, errors.New("account 7 is not mine any more"))
			}
			return nil
		})
		return err
	}
	nothing := func() {}
	require.NoError(t, withdraw(nothing))
	late := withdraw(func() {
		// While this holder sleeps, its lock ends and somebody else gets through.
		_, err := client.ForceRelease(ctx, "account/7", 0)
		require.NoError(t, err)
		require.NoError(t, withdraw(nothing))
	})
	require.ErrorContains(t, late, "not mine any more")
	var balance int
	require.NoError(t, db.QueryRowContext(ctx, `SELECT balance FROM accounts WHERE id = 7`).Scan(&balance))
	require.Equal(t, 80, balance)
}
