// Package bench measures the server from outside: real processes, real sockets. It judges by what processes use, CPU time and resident
// memory as the kernel counts them, never by how long something took.
package bench
