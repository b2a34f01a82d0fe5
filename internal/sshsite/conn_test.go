package sshsite

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/sshserver"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

var _ site.Site = (*Conn)(nil)

func open(t *testing.T, c *Conn, address string) pipe.Conn {
	t.Helper()
	s, err := c.Dial(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestDialledStreamsCarryEveryByteAndHalfClose(t *testing.T) {
	t.Parallel()
	c := newFixture(t).dial(t)
	to := target.Start(t)
	for name, test := range map[string]func(net.Conn, int64) error{
		"download": target.Download, "upload": target.Upload, "half-close": target.HalfClose,
	} {
		if err := test(open(t, c, to), 8<<20); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A lost connection must not look like the end of what it carried: a client
// would take half of an answer for the whole.
func TestALostConnectionIsNoEndOfItsStreams(t *testing.T) {
	t.Parallel()
	for range 20 {
		f := newFixture(t)
		c := f.dial(t)
		s := open(t, c, target.EchoServer(t))
		if err := target.EchoMore(s, 100); err != nil {
			t.Fatal(err)
		}
		f.faults.DropAll()
		if n, err := s.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Fatalf("read %d, %v; want an error that is no EOF", n, err)
		}
		<-c.Done()
		if codeOfError(c.Err()) != api.CodeConnectionLost {
			t.Errorf("the connection ended with %v", c.Err())
		}
	}
}

func codeOfError(err error) api.Code {
	var e *api.Error
	errors.As(err, &e)
	if e == nil {
		return ""
	}
	return e.Code
}

func TestCloseEndsTheConnectionWithoutAnError(t *testing.T) {
	t.Parallel()
	c := newFixture(t).dial(t)
	c.Close()
	if err := c.Err(); err != nil {
		t.Errorf("Err after Close: %v", err)
	}
	if _, err := c.Dial(t.Context(), "tcp", "127.0.0.1:1"); err == nil {
		t.Error("a closed connection dials")
	}
}

func TestDialSaysWhyTheTargetCouldNotBeReached(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.dial(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	reason := func(ctx context.Context, address string) site.Reason {
		s, err := c.Dial(ctx, "tcp", address)
		if err == nil {
			s.Close()
			t.Fatalf("connected to %s", address)
		}
		return site.ReasonOf(err)
	}
	if r := reason(t.Context(), ln.Addr().String()); r != site.Refused {
		t.Errorf("nobody listens: reason %d", r)
	}
	f.faults.RefuseChannels(true)
	if r := reason(t.Context(), "127.0.0.1:1"); r != site.Denied {
		t.Errorf("forwarding is not allowed: reason %d", r)
	}
	f.faults.RefuseChannels(false)
	f.faults.IgnoreChannels(true)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if r := reason(ctx, "127.0.0.1:1"); r != site.TimedOut {
		t.Errorf("no answer: reason %d", r)
	}
}

func TestOneRefusedStreamLeavesTheOthers(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.dial(t)
	s := open(t, c, target.EchoServer(t))
	f.faults.RefuseChannels(true)
	for range 20 {
		if s, err := c.Dial(t.Context(), "tcp", "127.0.0.1:1"); err == nil {
			s.Close()
			t.Fatal("opened")
		}
	}
	if err := target.EchoMore(s, 1000); err != nil {
		t.Error(err)
	}
}

func TestARemoteListenerBringsConnectionsAndGivesItsPortBack(t *testing.T) {
	t.Parallel()
	c := newFixture(t).dial(t)
	for range 2 { // the second time proves that the first gave the port back
		ln, err := c.Listen(t.Context(), "tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		out, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		in, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		out.Write([]byte("ping"))
		out.(*net.TCPConn).CloseWrite()
		if got, err := io.ReadAll(in); err != nil || string(got) != "ping" {
			t.Errorf("got %q, %v", got, err)
		}
		in.Write([]byte("pong"))
		in.Close()
		if got, err := io.ReadAll(out); err != nil || string(got) != "pong" {
			t.Errorf("got %q, %v", got, err)
		}
		out.Close()
		if err := ln.Close(); err != nil {
			t.Fatal(err)
		}
		if again, err := net.Dial("tcp", ln.Addr().String()); err == nil {
			again.Close()
			t.Error("the server still listens after Close")
		}
		if _, err := ln.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("Accept after Close: %v", err)
		}
	}
}

func TestListenSaysThatTheServerRefusedOrNeverAnswered(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.dial(t)
	f.faults.RefuseForwards(true)
	if _, err := c.Listen(t.Context(), "tcp", "127.0.0.1:0"); codeOfError(err) != api.CodeRemoteListenRefused {
		t.Errorf("refused: %v", err)
	}
	f.faults.IgnoreRequests(true)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.Listen(ctx, "tcp", "127.0.0.1:0"); codeOfError(err) != api.CodeTimeout {
		t.Errorf("ignored: %v", err)
	}
}

func TestAStalledStreamLeavesTheOthers(t *testing.T) {
	t.Parallel()
	c := newFixture(t).dial(t)
	to := target.Start(t)
	stalled := open(t, c, to)
	if _, err := stalled.Write([]byte{'G', 0, 0, 0, 0, 4, 0, 0, 0}); err != nil { // 64 MB, and nobody reads
		t.Fatal(err)
	}
	if err := target.Download(open(t, c, to), 16<<20); err != nil {
		t.Error(err)
	}
	if n, err := io.Copy(io.Discard, stalled); err != nil || n != 64<<20 {
		t.Errorf("the stalled stream then gave %d bytes, %v", n, err)
	}
}

func TestOpeningAndClosingLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	c := f.dial(t)
	to := target.Start(t)
	for range 50 {
		if err := target.Upload(open(t, c, to), 10); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := f.server.WaitCounts(ctx, func(n sshserver.Counts) bool { return n.CurrentChannels <= 50 }); err != nil {
		t.Error(err)
	}
}
