// Command tunload puts a measured load on a TCP path: straight to a target,
// through a SOCKS5 proxy, or through a listening port forward. It prints one
// JSON object per test, so that two systems can be compared on the same work.
//
//	tunload target -listen 127.0.0.1:7000
//	tunload run -via socks5://127.0.0.1:9870 -target 127.0.0.1:7000 -test down -streams 4 -bytes 1G
//	tunload run -via tcp://127.0.0.1:8080 -test rtt -n 5000
//	tunload hop -listen 127.0.0.1:7001 -to 127.0.0.1:7000
//
// hop is one plain TCP hop (io.Copy, so the kernel splices). Two of them in a
// row are the limit that a tunnel of two processes can be held against.
//
// The target speaks a tiny protocol: the first byte of a connection picks what
// it does. 'E' echoes; 'G' + uint64 sends that many bytes of a seeded stream;
// 'S' + uint64 reads that many bytes and answers with their SHA-256; 'C' + uint64
// likewise, and answers with a uint64, how many it read. Numbers are big-endian.
// Memory and CPU figures come from /proc and are 0 without one.
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: tunload target|hop|run [flags]")
		os.Exit(2)
	}
	var err error
	switch os.Args[1] {
	case "target":
		err = target(os.Args[2:])
	case "hop":
		err = hop(os.Args[2:])
	case "run":
		err = run(os.Args[2:])
	default:
		err = fmt.Errorf("unknown command %q", os.Args[1])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tunload:", err)
		os.Exit(1)
	}
}
