package place

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// EtcdWithoutSync is a flag of the places' etcd. No case kills it or cuts its power, and a slow disk would upset what cases time.
const EtcdWithoutSync = "--unsafe-no-fsync"

// AwaitEtcd waits until the etcd works that clients find at that address, and gives an error if it has ended.
func AwaitEtcd(ctx context.Context, address string, ended <-chan struct{}) error {
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/health", http.NoBody)
		if err != nil {
			return err
		}
		if a, err := http.DefaultClient.Do(r); err == nil && a.Body.Close() == nil && a.StatusCode == http.StatusOK {
			return nil
		}
		select {
		case <-ended:
			return errors.New("etcd has ended")
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("etcd is not healthy: %w", ctx.Err())
		}
	}
}
