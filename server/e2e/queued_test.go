package e2e

import (
	order "encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// queued returns how many connections to the address have data that the process has not read.
func queued(t *testing.T, addr string) (n int) {
	t.Helper()
	table, err := os.ReadFile("/proc/net/tcp")
	require.NoError(t, err)
	at, err := netip.ParseAddrPort(addr)
	require.NoError(t, err)
	ip := at.Addr().As4()
	local := fmt.Sprintf("%08X:%04X", order.NativeEndian.Uint32(ip[:]), at.Port())
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) < 5 || f[1] != local {
			continue
		}
		const established = "01"
		_, unread, _ := strings.Cut(f[4], ":")
		if size, err := strconv.ParseUint(unread, 16, 64); err == nil && f[3] == established && size > 0 {
			n++
		}
	}
	return n
}
