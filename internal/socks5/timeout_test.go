package socks5

import (
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestHandshakeEndsWithASlowClient(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		timeout time.Duration
		quick   []byte // sent at once
		slow    []byte // a byte every 3 seconds; after it silence
		want    time.Duration
	}{
		{"silent", 0, nil, nil, 10 * time.Second},
		{"silent, own timeout", 4 * time.Second, nil, nil, 4 * time.Second},
		{"slow greeting", 0, nil, join(5, 100, make([]byte, 100)), 10 * time.Second},
		{"slow password", 0, greetAuth, auth("ann", "a very long password"), 10 * time.Second},
		{"slow request", 0, join(greetAuth, auth("ann", "s3cret")), join(5, 1, 0, 3, 200, make([]byte, 200)), 10 * time.Second},
		{"slow greeting, then a slow password", 0, nil, join(greetAuth, auth("a", "")), 10 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client, server := net.Pipe()
				defer client.Close()
				defer server.Close()
				var wg sync.WaitGroup
				wg.Go(func() { _, _ = io.Copy(io.Discard, client) })
				wg.Go(func() { trickle(client, tt.quick, tt.slow) })
				s := locked()
				s.Timeout = tt.timeout
				start := time.Now()
				_, err := s.Handshake(server)
				if !errors.Is(err, ErrTimeout) {
					t.Errorf("error is %v, want ErrTimeout", err)
				}
				if took := time.Since(start); took != tt.want {
					t.Errorf("it took %v, want %v", took, tt.want)
				}
				server.Close()
				wg.Wait()
			})
		})
	}
}

// trickle writes quick at once, and then a byte of slow every 3 seconds.
func trickle(c net.Conn, quick, slow []byte) {
	if _, err := c.Write(quick); err != nil {
		return
	}
	for i := range slow {
		time.Sleep(3 * time.Second)
		if _, err := c.Write(slow[i : i+1]); err != nil {
			return
		}
	}
}

func TestTheRequestHasATimeOfItsOwn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		defer server.Close()
		go func() { _, _ = io.Copy(io.Discard, client) }()
		go func() {
			time.Sleep(9 * time.Second)
			_, _ = client.Write(greetOpen)
			time.Sleep(9 * time.Second)
			_, _ = client.Write(toIPv4)
		}()
		if _, err := new(Server).Handshake(server); err != nil {
			t.Errorf("9 seconds for each half: %v", err)
		}
		// Cleared deadlines: a read far later still waits.
		go func() {
			time.Sleep(time.Hour)
			_, _ = client.Write([]byte("x"))
		}()
		if _, err := io.ReadFull(server, make([]byte, 1)); err != nil {
			t.Errorf("read an hour after the handshake: %v", err)
		}
	})
}

func TestHandshakeDoesNotWaitForeverForAClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, server := net.Pipe()
		defer client.Close()
		defer server.Close()
		go func() { _, _ = client.Write(greetOpen) }()
		if _, err := new(Server).Handshake(server); !errors.Is(err, ErrTimeout) {
			t.Errorf("error is %v, want ErrTimeout", err)
		}
	})
}
