// Contract writes the tables that come from conformance/contract.json, or tells with -check which of them are stale. It runs in the
// folder of the conformance suite.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/lockserver/lockserver/conformance/internal/contract"
)

func main() {
	check := flag.Bool("check", false, "write nothing; fail if a table is stale")
	flag.Parse()
	if err := run(*check); err != nil {
		fmt.Fprintln(os.Stderr, "contract:", err)
		os.Exit(1)
	}
}

func run(check bool) error {
	c, err := contract.Load("contract.json")
	if err != nil {
		return err
	}
	stale, err := c.Generate("..", check)
	if err == nil && check && len(stale) > 0 {
		return fmt.Errorf("not what contract.json says: %s; run make generate", strings.Join(stale, ", "))
	}
	return err
}
