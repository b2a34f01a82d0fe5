package test

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/testx/target"
)

const (
	large  = 64 << 20
	medium = 32 << 20 // more than the buffers of a path hold
	small  = 1 << 20
)

func TestEveryForwardCarriesEachByteBothWays(t *testing.T) {
	t.Parallel()
	for _, w := range newGround(t).ways() {
		t.Run(w.name, func(t *testing.T) {
			if err := received(ask(t, w.open(t), large), large); err != nil {
				t.Errorf("download: %v", err)
			}
			if err := target.Upload(w.open(t), large); err != nil {
				t.Errorf("upload: %v", err)
			}
			// The reply comes after the end of what was sent.
			if err := target.HalfClose(w.open(t), small); err != nil {
				t.Errorf("half-close: %v", err)
			}
		})
	}
}

func TestEightStreamsFlowAtOnceThroughEveryForward(t *testing.T) {
	t.Parallel()
	transfers := []func(net.Conn, int64) error{target.Download, target.Upload, target.HalfClose, target.Echo}
	for _, w := range newGround(t).ways() {
		t.Run(w.name, func(t *testing.T) {
			var streams sync.WaitGroup
			for i := range 8 {
				c := w.open(t)
				streams.Go(func() {
					if err := transfers[i%len(transfers)](c, small); err != nil {
						t.Errorf("stream %d: %v", i, err)
					}
				})
			}
			streams.Wait()
		})
	}
}

func TestAStalledReaderHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	for _, w := range g.ways() {
		t.Run(w.name, func(t *testing.T) {
			stalled := ask(t, w.open(t), medium)
			if sent := g.standsStill(w.path); sent == 0 || sent >= medium {
				t.Errorf("%d bytes went to a client that reads none", sent)
			}
			if err := target.Download(w.open(t), 8*small); err != nil {
				t.Errorf("beside it: %v", err)
			}
			if err := received(stalled, medium); err != nil {
				t.Errorf("the stalled one then: %v", err)
			}
		})
	}
}

// ask has the target send n bytes of its stream.
func ask(t *testing.T, c net.Conn, n uint64) net.Conn {
	t.Helper()
	if _, err := c.Write(binary.BigEndian.AppendUint64([]byte{'G'}, n)); err != nil {
		t.Fatal(err)
	}
	return c
}

// received reads to the end, and compares with the first n bytes of the stream.
// A hash, since under the race detector each byte that is looked at costs.
func received(c net.Conn, n int64) error {
	got := sha256.New()
	switch read, err := io.Copy(got, c); {
	case err != nil || read != n:
		return fmt.Errorf("%d bytes and %v", read, err)
	case [sha256.Size]byte(got.Sum(nil)) != hashes()[n]:
		return errors.New("other bytes than were sent")
	}
	return nil
}

// hashes are those of the stream's first bytes, by their number.
var hashes = sync.OnceValue(func() map[int64][sha256.Size]byte {
	h, stream := sha256.New(), target.Stream()
	sums := map[int64][sha256.Size]byte{}
	done := int64(0)
	for _, n := range []int64{medium, large} {
		_, _ = io.CopyN(h, stream, n-done) // never fails
		done, sums[n] = n, [sha256.Size]byte(h.Sum(nil))
	}
	return sums
})

// standsStill waits until a forward has delivered no byte for a while, and gives
// the number of those that it has.
func (c *client) standsStill(path string) int64 {
	c.t.Helper()
	const quiet = 300 * time.Millisecond
	last, since := -1.0, time.Now()
	c.becomes(path+"/status", "quiet", patience, func(o object) bool {
		if sent := o["bytesOut"].(float64); sent != last || sent == 0 {
			last, since = sent, time.Now()
		}
		return time.Since(since) > quiet
	})
	return int64(last)
}

func TestStatusCountsWithinASecondWhileConnectionsAreOpen(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	for _, w := range g.ways() {
		c, other := w.open(t), w.open(t)
		if err := errors.Join(target.Echo(c, small), target.Echo(other, 0)); err != nil {
			t.Fatalf("%s: %v", w.name, err)
		}
		counted := func(connections float64) func(object) bool {
			return func(o object) bool {
				return o["connections"] == connections && o["bytesIn"] == float64(small+2) && o["bytesOut"] == float64(small)
			}
		}
		g.becomes(w.path+"/status", w.name+" counted", time.Second, counted(2))
		if err := other.Close(); err != nil {
			t.Fatal(err)
		}
		st := g.becomes(w.path+"/status", w.name+" counted", time.Second, counted(1))
		g.has(st, object{"isActive": true, "status": "active", "tunnelId": w.row["tunnelId"], "connectionId": w.row["connectionId"]})
	}
}

func TestTunnelsToOneServerShareItsConnection(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	ways := g.ways()
	for _, w := range ways {
		g.has(w.row, object{"connectionId": ways[0].row["connectionId"]})
	}
	if n := g.sshd.Sessions(); n != 1 {
		t.Errorf("sshd holds %d connections", n)
	}
}

func TestAStopClosesListenerAndConnections(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	for _, w := range g.ways() {
		c := w.open(t)
		if err := target.Echo(c, 1); err != nil {
			t.Fatal(err)
		}
		row := g.post(w.path+"/stop", nil).is(200)
		g.has(row, object{
			"status": "inactive", "state": "inactive", "desired": "inactive", "tunnelId": nil, "connectionId": nil,
			"lastUsed": w.row["lastUsed"], "updatedAt": w.row["updatedAt"],
		})
		closed(t, bound(w.row))
		if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
			t.Errorf("%s: a connection outlives the stop", w.name)
		}
	}
}

func TestTargetsAndListenersMayBeIPv6(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "[::1]:0")
	if err != nil {
		t.Skipf("this machine has no IPv6 loopback: %v", err)
	}
	go serveEcho(ln)
	t.Cleanup(func() { _ = ln.Close() })
	echo := ln.Addr().String()
	g := newGround(t)

	local := g.local(echo)
	local["bindAddress"] = "::1"
	overLocal := bound(g.start(g.create(local)))
	overRemote := bound(g.start(g.create(g.remote(echo))))
	proxy := bound(g.start(g.create(g.dynamic())))
	for name, dial := range map[string]func() (net.Conn, error){
		"local":   dialer(overLocal),
		"remote":  dialer(overRemote),
		"dynamic": func() (net.Conn, error) { return dialSOCKS(proxy, echo) },
	} {
		w := way{name: name, dial: dial}
		if err := target.EchoMore(w.open(t), small); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// serveEcho echoes on every connection until the listener is closed. The
// connections end with their clients.
func serveEcho(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = c.Close() }()
			_, _ = io.Copy(c, c)
		}()
	}
}
