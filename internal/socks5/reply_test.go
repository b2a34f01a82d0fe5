package socks5

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/site"
)

func TestWriteReplyWritesTheBoundAddress(t *testing.T) {
	t.Parallel()
	v6 := []byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}
	tests := []struct {
		name  string
		reply Reply
		bound netip.AddrPort
		want  []byte
	}{
		{"nothing to tell", Succeeded, netip.AddrPort{}, []byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}},
		{"failure", ConnectionRefused, netip.AddrPort{}, []byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0}},
		{"IPv4", Succeeded, netip.MustParseAddrPort("192.0.2.7:8080"), []byte{5, 0, 0, 1, 192, 0, 2, 7, 0x1f, 0x90}},
		{"mapped IPv4", Succeeded, netip.MustParseAddrPort("[::ffff:192.0.2.7]:8080"), []byte{5, 0, 0, 1, 192, 0, 2, 7, 0x1f, 0x90}},
		{"IPv6 with a zone", Succeeded, netip.MustParseAddrPort("[fe80::1%eth0]:1"), join(5, 0, 0, 4, v6, 0, 1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := new(script)
			if err := WriteReply(c, tt.reply, tt.bound); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(c.out.Bytes(), tt.want) {
				t.Errorf("wrote % x, want % x", c.out.Bytes(), tt.want)
			}
			if c.deadlines != 1 || !c.deadline.IsZero() {
				t.Errorf("%d deadlines were set, the last is %v; want 1, cleared", c.deadlines, c.deadline)
			}
		})
	}
}

func TestWriteReplyGivesUpOnAClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		defer server.Close()
		start := time.Now()
		if err := WriteReply(server, Succeeded, netip.AddrPort{}); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("error is %v", err)
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("it took %v, want 10s", took)
		}
	})
}

func TestReplyToTellsWhyADialFailed(t *testing.T) {
	t.Parallel()
	dial := func(r site.Reason) error {
		return fmt.Errorf("stream: %w", &site.DialError{Reason: r, Address: "a:1", Err: io.EOF})
	}
	tests := []struct {
		err  error
		want Reply
	}{
		{nil, 0},
		{dial(site.Other), 1},
		{dial(site.Denied), 2},
		{dial(site.NetworkUnreachable), 3},
		{dial(site.HostUnreachable), 4},
		{dial(site.NameNotFound), 4},
		{dial(site.Refused), 5},
		{dial(site.TimedOut), 6},
		{io.EOF, 1},
		{context.DeadlineExceeded, 6},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, 5},
		{&net.DNSError{Err: "no such host", IsNotFound: true}, 4},
	}
	for _, tt := range tests {
		if got := ReplyTo(tt.err); got != tt.want {
			t.Errorf("the reply to %v is %d (%v), want %d (%v)", tt.err, got, got, tt.want, tt.want)
		}
	}
}

func TestRepliesAndCommandsHaveNames(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for r := Succeeded; r <= AddressTypeNotSupported+1; r++ {
		seen[r.String()] = true
	}
	for c := Command(0); c <= Associate; c++ {
		seen[c.String()] = true
	}
	if len(seen) != 10+4 || seen[""] {
		t.Errorf("names are missing or doubled: %v", seen)
	}
}
