package main

import "context"

// relayToken lets the client use the relay. Nobody else can reach them, and
// they are gone when the bench is.
const relayToken = "bench"

// relaySuite is a relay and a client of it, two processes on a plain WebSocket,
// in adit's own dialect, entered by SOCKS5. It is held against two plain hops:
// what two processes could at best do.
var relaySuite = suite{
	name:  "relay",
	title: "adit's relay and client beside two plain hops",
	open:  openRelay(),
	tests: []test{
		{name: "down", title: "download, 1 stream, hashed", unit: "MB/s", value: speed, floor: 0.8,
			load: []string{"-test", "down", "-bytes", "512M", "-hash"}},
		{name: "down8", title: "download, 8 streams, hashed", unit: "MB/s", value: speed, floor: 0.6,
			load: []string{"-test", "down", "-streams", "8", "-bytes", "128M", "-hash"}},
		{name: "up", title: "upload, 1 stream, hashed", unit: "MB/s", value: speed, floor: 0.8,
			load: []string{"-test", "up", "-bytes", "512M", "-hash"}},
		{name: "up8", title: "upload, 8 streams, hashed", unit: "MB/s", value: speed,
			load: []string{"-test", "up", "-streams", "8", "-bytes", "128M", "-hash"}},
		// Without the hashes the hops are held up by nothing but the kernel,
		// which splices: what is left is what it costs to touch a byte.
		{name: "bare", title: "download, 1 stream, not hashed", unit: "MB/s", value: speed,
			load: []string{"-test", "down", "-bytes", "512M"}},
		{name: "bareup", title: "upload, 1 stream, not hashed", unit: "MB/s", value: speed,
			load: []string{"-test", "up", "-bytes", "512M"}},
		// The kernel keeps all processes of a round on one core, or has each wake
		// the other core: both sides have two speeds, each by itself.
		{name: "rtt", title: "round trips, 64 B", unit: "1/s", value: rate, floor: 0.9, often: 8,
			load: []string{"-test", "rtt", "-n", "10000"}},
		{name: "connect", title: "short connections, 8 at once", unit: "1/s", value: rate, floor: 0.45,
			load: []string{"-test", "connect", "-streams", "8", "-n", "5000"}},
		{name: "idle", title: "memory of 2000 idle streams", unit: "KB each", value: memory, below: 30, fresh: true,
			load: []string{"-test", "idle", "-n", "2000"}},
		{name: "slow", title: "beside a stalled reader", unit: "of alone", value: besides, least: 0.9, fresh: true,
			load: []string{"-test", "slow", "-bytes", "512M"},
			also: []test{{title: "memory with a stalled reader", unit: "MB", value: peak, below: 150}}},
	},
}

// linksocksSuite is the same in the dialect that stock peers speak.
var linksocksSuite = suite{
	name:  "linksocks",
	title: "adit's relay and client, in the linksocks dialect, beside two plain hops",
	open:  openRelay("--dialect", "linksocks"),
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

// openRelay gives a stage a relay and a client that is told these flags, and two hops.
func openRelay(flags ...string) func(context.Context, *stage) error {
	return func(_ context.Context, s *stage) error {
		s.subject = &route{name: "adit", launch: s.startRelay, flags: flags}
		s.reference = &route{name: "2 hops", launch: s.startHops}
		return nil
	}
}

// startRelay runs a relay at the far end and a client of it, which is told
// flags, at the near one. It returns the client's SOCKS port.
func (s *stage) startRelay(ctx context.Context, flags []string) ([]*process, string, error) {
	relay, err := s.startAt(s.far, "relay", s.tools.adit, "relay", "serve", "-H", s.farHost(), "-P", "0", "-t", relayToken)
	if err != nil {
		return nil, "", err
	}
	url, err := relay.ready(ctx, "adit ready relay=")
	if err != nil {
		return nil, "", err
	}
	args := append([]string{"relay", "client", "-t", relayToken, "-u", url, "-p", "0"}, flags...)
	client, err := s.startAt(s.near, "client", s.tools.adit, args...)
	if err != nil {
		return nil, "", err
	}
	socks, err := client.ready(ctx, "adit ready socks=")
	return []*process{relay, client}, socks, err
}
