package disk_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/store/disk"
)

// What reads Pebble's files besides Pebble itself was written for one release of it.
func TestPebbleVersion(t *testing.T) {
	mod, err := os.ReadFile("../../../go.mod")
	require.NoError(t, err)
	require.Contains(t, string(mod), "\tgithub.com/cockroachdb/pebble/v2 "+disk.PebbleVersion+"\n",
		"go.mod has another Pebble: compare the layout in log.go with that release's package record, then let pebbleVersion follow")
}
