package disk_test

import (
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/store/disk"
)

const (
	childRole = "DISK_TEST_CHILD"
	childDir  = "DISK_TEST_DIR"

	childOpens     = "opens the store"
	childFailsSync = "commits until the log can't be synced"
)

func TestMain(m *testing.M) {
	switch role := os.Getenv(childRole); role {
	case "":
		os.Exit(m.Run())
	case childOpens:
		s, err := disk.Open(os.Getenv(childDir), 0, quiet)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("opened")
		if err := s.Close(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	case childFailsSync:
		commitUntilTheLogFails()
	default:
		panic("unknown role " + role)
	}
}

// child is this test binary again, in one of the roles of TestMain.
func child(t *testing.T, role, dir string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childRole+"="+role, childDir+"="+dir)
	return cmd
}
