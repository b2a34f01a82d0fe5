// Package target is something for tests to connect to at the far end of a
// tunnel, and the client side that proves each byte. The first byte of a
// connection picks what the target does:
//
//	'E'           echoes until the end, and ends then
//	'G' + uint64  sends that many bytes of the stream, and ends
//	'S' + uint64  reads that many bytes, answers with their SHA-256, and ends
//	'H'           reads to the end, answers with the SHA-256 of it all, and ends
//
// Numbers are big-endian. The stream is the same for every connection.
package target

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// Stream gives the endless, repeatable bytes of 'G', 'S' and 'H'.
func Stream() io.Reader { return rand.NewChaCha8([32]byte{7}) }

// Start runs a target on 127.0.0.1 until the test ends, and gives its host:port.
func Start(t testing.TB) string { return listen(t, serve) }

// EchoServer runs a server on 127.0.0.1 that echoes all it gets, from the first
// byte on, and gives its host:port.
func EchoServer(t testing.TB) string { return listen(t, echo) }

// listen serves every connection with handle and closes them all with the test.
func listen(t testing.TB, handle func(*net.TCPConn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer context.AfterFunc(ctx, func() { _ = nc.Close() })()
				defer func() { _ = nc.Close() }()
				handle(nc.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = ln.Close()
		work.Wait()
	})
	return ln.Addr().String()
}

// serve does what the first byte says. What fails shows at the client, which
// gets too little, so nothing is reported here.
func serve(c *net.TCPConn) {
	var op [1]byte
	if _, err := io.ReadFull(c, op[:]); err != nil {
		return
	}
	switch op[0] {
	case 'E':
		echo(c)
	case 'G':
		if n, err := readSize(c); err == nil {
			_, _ = io.CopyN(c, Stream(), n)
		}
	case 'S':
		n, err := readSize(c)
		if err != nil {
			return
		}
		answerHash(c, io.LimitReader(c, n), n)
	case 'H':
		answerHash(c, c, -1)
	}
}

// echo ends its side by returning, when the client has ended its own.
func echo(c *net.TCPConn) { _, _ = io.Copy(c, c) }

// answerHash sends the hash of what from holds; want is its length, or -1 when any is right.
func answerHash(c net.Conn, from io.Reader, want int64) {
	hash := sha256.New()
	n, err := io.Copy(hash, from)
	if err != nil || (want >= 0 && n != want) {
		return
	}
	_, _ = c.Write(hash.Sum(nil))
}

func readSize(r io.Reader) (int64, error) {
	var size uint64
	err := binary.Read(r, binary.BigEndian, &size)
	return int64(size), err
}
