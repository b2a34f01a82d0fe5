package sshsite

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

// greeted reads what a transport lets through of what a server sends, in
// pieces of this size, a second apart. Then the server ends its direction, or
// says nothing more.
func greeted(t *testing.T, sent string, piece int, ends bool) (read string, at step, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.New().Pair()
		var server sync.WaitGroup
		server.Go(func() {
			if ends {
				defer far.CloseWrite()
			}
			for rest := sent; rest != ""; {
				n := min(piece, len(rest))
				if _, err := far.Write([]byte(rest[:n])); err != nil {
					return // it has heard enough
				}
				rest = rest[n:]
				time.Sleep(time.Second)
			}
		})
		tr := newTransport(near)
		var all []byte
		all, err = io.ReadAll(tr)
		read, at = string(all), step(tr.step.Load())
		tr.Close()
		server.Wait()
	})
	return read, at, err
}

func TestTheLinesBeforeTheVersionAreDropped(t *testing.T) {
	t.Parallel()
	long := strings.Repeat(strings.Repeat("x", 100)+"\r\n", 80) // within 8 KiB
	for name, c := range map[string]struct {
		sent, want string
		piece      int
	}{
		"none":             {"SSH-2.0-a b\r\nrest", "SSH-2.0-a b\r\nrest", 1 << 20},
		"two":              {"welcome\r\nto the mine\nSSH-2.0-a\r\nrest", "SSH-2.0-a\r\nrest", 1 << 20},
		"old and new":      {"SSH-1.99-a\n\x00\x00", "SSH-1.99-a\n\x00\x00", 1 << 20},
		"empty lines":      {"\r\n\n\r\nSSH-2.0-a\n", "SSH-2.0-a\n", 1 << 20},
		"tabs and accents": {"\tbonjour, garçon\r\nSSH-2.0-a\n", "SSH-2.0-a\n", 1 << 20},
		"8 KiB":            {long + "SSH-2.0-a\n", "SSH-2.0-a\n", 1 << 20},
		"in pieces":        {"welcome\r\nSSH-2.0-a\nrest\x00", "SSH-2.0-a\nrest\x00", 3},
		"byte by byte":     {"welcome\r\nSSH-2.0-a\nrest\x00", "SSH-2.0-a\nrest\x00", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, at, err := greeted(t, c.sent, c.piece, true); err != nil || got != c.want || at != stepKeyExchange {
				t.Errorf("read %q, %v, %v, want %q", got, at, err, c.want)
			}
		})
	}
}

func TestWhatCannotBecomeAnSSHVersionIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("x", 100) + "\r\n"
	for name, c := range map[string]struct {
		sent  string
		piece int
		ends  bool
		want  error
	}{
		"more than 8 KiB of lines":   {strings.Repeat(line, 82) + "SSH-2.0-a\r\n", 1 << 20, false, errNotSSH},
		"more than 8 KiB of a line":  {strings.Repeat("x", 8<<10+1), 1 << 20, false, errNotSSH},
		"the same, in pieces":        {strings.Repeat("x", 8<<10+1), 100, false, errNotSSH},
		"binary":                     {"\x16\x03\x01SSH-2.0-", 1 << 20, false, errNotSSH},
		"binary, byte by byte":       {"\x16\x03\x01SSH-2.0-", 1, false, errNotSSH},
		"lines, and an end":          {"220 mail.example.org\r\n", 1 << 20, true, errNotSSH},
		"half of a line, and an end": {"HTTP/1.1 400", 1 << 20, true, errNotSSH},
		"half of a version":          {"SSH-2", 1 << 20, true, io.EOF},
		"nothing":                    {"", 1, true, io.EOF},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, at, err := greeted(t, c.sent, c.piece, c.ends)
			if c.want == io.EOF {
				c.want = nil // which is how io.ReadAll takes it
			}
			if got != "" || !errors.Is(err, c.want) || at != stepVersion {
				t.Errorf("read %q, %v, %v, want %v", got, at, err, c.want)
			}
		})
	}
}

func TestAWriteOfATransportIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.New().Pair()
		tr := newTransport(near)
		begun := time.Now()
		if _, err := tr.Write(make([]byte, 1<<20)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("write: %v", err)
		}
		if d := time.Since(begun); d != writeTimeout {
			t.Errorf("it took %v", d)
		}
		if _, err := tr.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the next write: %v", err)
		}
		if tr.alive() || !errors.Is(tr.fault(), os.ErrDeadlineExceeded) {
			t.Errorf("alive, or the fault is %v", tr.fault())
		}
		if _, err := tr.Read(make([]byte, 1)); err == nil {
			t.Error("it reads on")
		}
		far.Close()
	})
}

func TestAnEOFIsOnlyBelievedWhileTheConnectionReadsOn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.New().Pair()
		tr := newTransport(near)
		tr.step.Store(int32(stepDone))
		alive := make(chan bool)
		ask := func() { alive <- tr.alive() }
		go ask()
		synctest.Wait()
		select {
		case <-alive:
			t.Fatal("it says so before the next read")
		default:
		}
		read := make(chan error)
		go func() { _, err := tr.Read(make([]byte, 1)); read <- err }()
		if !<-alive {
			t.Error("dead while it reads")
		}
		far.Close()
		<-read
		go ask()
		if <-alive {
			t.Error("alive after the end")
		}
		tr.Close()
	})
}
