package main

import "context"

// relayToken lets the client use the relay. All of it is on loopback and gone
// when the bench is.
const relayToken = "bench"

// relaySuite is a relay and a client of it, two processes on a plain WebSocket,
// entered by SOCKS5. It is held against two plain hops: what two processes
// could at best do.
var relaySuite = suite{
	name:  "relay",
	title: "adit's relay and client beside two plain hops",
	open:  openRelay,
	tests: []test{
		{name: "down", title: "download, 1 stream", unit: "MB/s", value: speed, floor: 0.38,
			load: []string{"-test", "down", "-bytes", "512M"}},
		{name: "down8", title: "download, 8 streams", unit: "MB/s", value: speed,
			load: []string{"-test", "down", "-streams", "8", "-bytes", "80M"}},
		{name: "up", title: "upload, 1 stream", unit: "MB/s", value: speed, floor: 0.27,
			load: []string{"-test", "up", "-bytes", "384M"}},
		{name: "rtt", title: "round trips, 64 B", unit: "1/s", value: rate,
			load: []string{"-test", "rtt", "-n", "6000"}},
		{name: "rtt16k", title: "round trips, 16 KB", unit: "1/s", value: rate, floor: aThird,
			load: []string{"-test", "rtt", "-size", "16384", "-n", "4000"}},
		{name: "rtt64k", title: "round trips, 64 KB", unit: "1/s", value: rate, floor: aThird,
			load: []string{"-test", "rtt", "-size", "65536", "-n", "3000"}},
		{name: "rtt256k", title: "round trips, 256 KB", unit: "1/s", value: rate, floor: aThird,
			load: []string{"-test", "rtt", "-size", "262144", "-n", "1500"}},
		{name: "connect", title: "short connections, 8 at once", unit: "1/s", value: rate,
			load: []string{"-test", "connect", "-streams", "8", "-n", "5000"}},
		{name: "idle", title: "memory of 1000 idle streams", unit: "KB each", value: memory, below: 60, fresh: true,
			load: []string{"-test", "idle", "-n", "1000"}},
	},
}

// aThird is what a message that no timer delays reaches: it is copied in two
// processes instead of spliced, and a batching delay of a millisecond alone
// would cost more than the rest of the way.
const aThird = 1.0 / 3

func openRelay(_ context.Context, s *stage) error {
	s.subject = &route{name: "adit", launch: s.startRelay}
	s.reference = &route{name: "2 hops", launch: s.startHops}
	return nil
}

// startRelay runs a relay and a client of it, and returns the client's SOCKS port.
func (s *stage) startRelay(ctx context.Context) ([]*process, string, error) {
	relay, err := s.start("relay", s.tools.adit, "relay", "serve", "-H", "127.0.0.1", "-P", "0", "-t", relayToken)
	if err != nil {
		return nil, "", err
	}
	url, err := relay.ready(ctx, "adit ready relay=")
	if err != nil {
		return nil, "", err
	}
	client, err := s.start("client", s.tools.adit, "relay", "client", "-t", relayToken, "-u", url, "-p", "0")
	if err != nil {
		return nil, "", err
	}
	socks, err := client.ready(ctx, "adit ready socks=")
	return []*process{relay, client}, socks, err
}
