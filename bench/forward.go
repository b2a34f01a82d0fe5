package main

import (
	"context"
	"fmt"
)

// forwardSuite is a local forward, held against OpenSSH's own through the same
// sshd. What two plain hops do is shown beside it.
var forwardSuite = suite{
	name:  "forward",
	title: "adit's local forward beside ssh -L",
	check: findOpenSSH,
	open:  openForward,
	tests: []test{
		{name: "down", title: "download, 1 stream", unit: "MB/s", value: speed, floor: 0.9, beside: true,
			load: []string{"-test", "down", "-bytes", "512M"}},
		{name: "down8", title: "download, 8 streams", unit: "MB/s", value: speed, beside: true,
			load: []string{"-test", "down", "-streams", "8", "-bytes", "80M"}},
		{name: "up", title: "upload, 1 stream", unit: "MB/s", value: speed, floor: 1.0, beside: true,
			load: []string{"-test", "up", "-bytes", "384M", "-hash"}},
		{name: "rtt", title: "round trips, 64 B", unit: "1/s", value: rate, floor: 0.9, beside: true,
			load: []string{"-test", "rtt", "-n", "6000"}},
		{name: "connect", title: "short connections, 8 at once", unit: "1/s", value: rate, floor: 0.55, beside: true,
			load: []string{"-test", "connect", "-streams", "8", "-n", "5000"}},
		{name: "idle", title: "memory of 1000 idle connections", unit: "KB each", value: memory, below: 40, fresh: true,
			load: []string{"-test", "idle", "-n", "1000"}},
	},
}

// forwardStage is a stage with an sshd between the routes and the target.
type forwardStage struct {
	*stage
	sshd    *sshServer
	forward aditForward
}

func openForward(ctx context.Context, s *stage) error {
	f := &forwardStage{stage: s}
	var err error
	if f.sshd, err = startSSHD(ctx, s); err != nil {
		return err
	}
	// First of all the logins, so that one which cannot work says why.
	agreed, err := f.agreedCipher(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("ssh and sshd agree on %s.\n", agreed)
	s.subject = &route{name: "adit", launch: f.startAdit}
	s.reference = &route{name: "ssh -L", launch: f.startSSH}
	s.beside = []*route{{name: "2 hops", launch: s.startHops}}
	return nil
}
