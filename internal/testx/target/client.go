package target

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
)

const chunkSize = 32 << 10

// Download has the target send n bytes, compares each, and wants an end after
// the last. The caller closes conn, here and below.
func Download(conn net.Conn, n int64) error {
	if err := writeHead(conn, 'G', n); err != nil {
		return err
	}
	if err := compare(conn, Stream(), n); err != nil {
		return fmt.Errorf("download: %w", err)
	}
	return wantEnd(conn)
}

// Upload sends n bytes and checks the target's hash of them.
func Upload(conn net.Conn, n int64) error {
	if err := writeHead(conn, 'S', n); err != nil {
		return err
	}
	return sendAndCheck(conn, n, func() error { return nil })
}

// HalfClose sends n bytes, ends its side, and checks the hash that the target
// answers with after that end. conn must have CloseWrite.
func HalfClose(conn net.Conn, n int64) error {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("%T has no CloseWrite", conn)
	}
	if _, err := conn.Write([]byte{'H'}); err != nil {
		return err
	}
	return sendAndCheck(conn, n, half.CloseWrite)
}

// Echo sends n bytes and compares what comes back meanwhile. It leaves conn
// open, for EchoMore.
func Echo(conn net.Conn, n int64) error {
	if _, err := conn.Write([]byte{'E'}); err != nil {
		return err
	}
	return EchoMore(conn, n)
}

// EchoMore sends n bytes to an EchoServer, or to a target after Echo, and
// compares what comes back meanwhile.
func EchoMore(conn net.Conn, n int64) error {
	sent := make(chan error, 1)
	go func() {
		_, err := io.CopyN(conn, Stream(), n)
		sent <- err
	}()
	if err := compare(conn, Stream(), n); err != nil {
		return fmt.Errorf("echo: %w", err)
	}
	return <-sent
}

// sendAndCheck sends n bytes of the stream, calls end, and compares the answer with their hash.
func sendAndCheck(conn net.Conn, n int64, end func() error) error {
	hash := sha256.New()
	if _, err := io.CopyN(conn, io.TeeReader(Stream(), hash), n); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if err := end(); err != nil {
		return fmt.Errorf("end: %w", err)
	}
	var answer [sha256.Size]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return fmt.Errorf("read hash: %w", err)
	}
	if !bytes.Equal(answer[:], hash.Sum(nil)) {
		return errors.New("target got other bytes than were sent")
	}
	return wantEnd(conn)
}

func writeHead(conn net.Conn, op byte, n int64) error {
	_, err := conn.Write(binary.BigEndian.AppendUint64([]byte{op}, uint64(n)))
	return err
}

// compare reads n bytes and tells where they first differ from want.
func compare(got, want io.Reader, n int64) error {
	var a, b [chunkSize]byte
	for at := int64(0); at < n; {
		size := min(n-at, chunkSize)
		read, err := got.Read(a[:size])
		if _, err := io.ReadFull(want, b[:read]); err != nil {
			return err
		}
		for i := range read {
			if a[i] != b[i] {
				return fmt.Errorf("byte %d of %d is wrong", at+int64(i), n)
			}
		}
		at += int64(read)
		if err != nil && at < n {
			return fmt.Errorf("after %d of %d bytes: %w", at, n, err)
		}
	}
	return nil
}

// wantEnd wants a clean end and no byte before it.
func wantEnd(conn net.Conn) error {
	var one [1]byte
	switch n, err := conn.Read(one[:]); {
	case n > 0:
		return errors.New("a byte after the last")
	case err != io.EOF:
		return fmt.Errorf("no clean end: %w", err)
	}
	return nil
}
