package sshd

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// Ports below those that the kernel gives to outgoing connections: nothing
// takes one by accident while a server is down between Stop and Restart.
const (
	firstPort = 20000
	lastPort  = 32000
)

var given = struct {
	mu    sync.Mutex // guards below
	ports map[int]bool
}{ports: make(map[int]bool)}

// FreePort gives a TCP port that nothing listens on at 127.0.0.1. It gives none
// twice in one process.
func FreePort(t testing.TB) int {
	t.Helper()
	given.mu.Lock()
	defer given.mu.Unlock()
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		if given.ports[port] {
			continue
		}
		ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		given.ports[port] = true
		return port
	}
	t.Fatal("no free port")
	return 0
}
