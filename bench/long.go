package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/adit-tunnel/adit/internal/testx/wire"
)

const (
	// oneWay makes a round trip of 100 ms: across a continent, or an ocean.
	oneWay    = 50 * time.Millisecond
	roundTrip = 2 * oneWay
)

// wireSuite has a long way between the relay's client and the relay, which is
// beside the target. It is held against plain TCP over the same way.
var wireSuite = suite{
	name:  "wire",
	title: fmt.Sprintf("adit's relay and client over a wire with a round trip of %v, beside plain TCP there", roundTrip),
	check: checkWire,
	long:  true,
	open:  openLong,
	tests: []test{
		{name: "down", title: "download, 1 stream", unit: "MB/s", value: speed, floor: 0.9,
			load: []string{"-test", "down", "-bytes", "128M", "-hash"}},
		{name: "up", title: "upload, 1 stream", unit: "MB/s", value: speed, floor: 0.9,
			load: []string{"-test", "up", "-bytes", "128M", "-hash"}},
		{name: "first", title: "first echoed byte, --fast-open", unit: "ms", value: halfTime, below: 1.1 * float64(roundTrip.Milliseconds()),
			peer: []string{"--fast-open"}, load: []string{"-test", "connect", "-n", "10"}},
		{name: "down8", title: "download, 8 streams, 4 lanes", unit: "MB/s", value: speed, floor: 0.75,
			peer: fourLanes, load: []string{"-test", "down", "-streams", "8", "-bytes", "8M", "-hash"}},
		{name: "up8", title: "upload, 8 streams, 4 lanes", unit: "MB/s", value: speed,
			peer: fourLanes, load: []string{"-test", "up", "-streams", "8", "-bytes", "8M", "-hash"}},
		// The longer it lasts, the less the beginning counts, and the more what the
		// kernel lets one connection have under way.
		{name: "down8long", title: "download, the same, 64 MB each", unit: "MB/s", value: speed,
			peer: fourLanes, load: []string{"-test", "down", "-streams", "8", "-bytes", "64M", "-hash"}},
		{name: "loss", title: "download, 4 lanes, 1 % lost", unit: "MB/s", value: speed, floor: 0.9, bbr: true, loss: 0.01,
			peer: fourLanes, load: []string{"-test", "down", "-streams", "8", "-bytes", "8M", "-hash"}},
	},
}

var fourLanes = []string{"--threads", "4"}

// checkWire opens a wire to see whether that can be done.
func checkWire(*tools) error {
	w, err := wire.Open(wire.Conditions{})
	if err != nil {
		return err
	}
	w.Close()
	return nil
}

func openLong(_ context.Context, s *stage) error {
	s.bbr = errors.Join(useBBR(s.near), useBBR(s.far)) == nil
	s.subject = &route{name: "adit", launch: s.startRelay}
	s.reference = &route{name: "plain TCP", launch: func(context.Context, []string) ([]*process, string, error) { return nil, "direct", nil }}
	return nil
}

// congestionControl is what TCP connections of the reader's namespace begin with.
const congestionControl = "/proc/sys/net/ipv4/tcp_congestion_control"

// useBBR makes TCP at an end use BBR, which loss at random does not slow down.
func useBBR(end *wire.End) error {
	return end.Do(func() error { return os.WriteFile(congestionControl, []byte("bbr"), 0) })
}

// unfit tells why a test cannot be made on this stage; empty if it can.
func (s *stage) unfit(t test) string {
	if t.bbr && !s.bbr {
		return "it is about BBR, and the kernel has no such congestion control to offer"
	}
	return ""
}
