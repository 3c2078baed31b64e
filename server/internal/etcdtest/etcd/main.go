// Command etcd is etcd itself, for tests. It has a module of its own, as the server needs none of its dependencies.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
