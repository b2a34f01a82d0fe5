package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// test is one kind of work, and what adit must reach at it.
type test struct {
	name  string // for -only
	title string
	unit  string
	load  []string // tunload's flags
	value func(figures) float64

	floor float64 // the least ratio to ssh -L; 0: none
	below float64 // what adit's own figure must stay under; 0: nothing
	fresh bool    // on processes that have done nothing before: memory once used is not soon given back
	hops  bool    // two plain hops can do it too
}

var tests = []test{
	{name: "down", title: "download, 1 stream", unit: "MB/s", value: speed, floor: 0.9, hops: true,
		load: []string{"-test", "down", "-bytes", "512M"}},
	{name: "down8", title: "download, 8 streams", unit: "MB/s", value: speed, hops: true,
		load: []string{"-test", "down", "-streams", "8", "-bytes", "80M"}},
	{name: "up", title: "upload, 1 stream", unit: "MB/s", value: speed, floor: 1.0, hops: true,
		load: []string{"-test", "up", "-bytes", "384M"}},
	{name: "rtt", title: "round trips, 64 B", unit: "1/s", value: rate, floor: 0.9, hops: true,
		load: []string{"-test", "rtt", "-n", "6000"}},
	{name: "connect", title: "short connections, 8 at once", unit: "1/s", value: rate, floor: 0.55, hops: true,
		load: []string{"-test", "connect", "-streams", "8", "-n", "5000"}},
	{name: "idle", title: "memory of 1000 idle connections", unit: "KB each", value: memory, below: 40, fresh: true,
		load: []string{"-test", "idle", "-n", "1000"}},
}

func speed(f figures) float64  { return f.MBps }
func rate(f figures) float64   { return f.PerSecond }
func memory(f figures) float64 { return f.KBPerConn }

// inCPUTime gives the same tests, measured by what they cost adit's or ssh's
// process. Two hops are two processes, and left out.
func inCPUTime(chosen []test) []test {
	var costs []test
	for _, t := range chosen {
		t.unit, t.value = "CPU ms", func(f figures) float64 { return 1000 * f.CPUSeconds }
		t.floor, t.below, t.hops = 0, 0, false
		costs = append(costs, t)
	}
	return costs
}

func testNames() []string {
	var names []string
	for _, t := range tests {
		names = append(names, t.name)
	}
	return names
}

// selectTests reads -only.
func selectTests(only string) ([]test, error) {
	if only == "" {
		return tests, nil
	}
	var chosen []test
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(tests, func(t test) bool { return t.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no test %q; there are %s", name, strings.Join(testNames(), " "))
		}
		chosen = append(chosen, tests[i])
	}
	return chosen, nil
}

// samples are a test's results in the order of the rounds.
type samples struct{ adit, ssh, hops []float64 }

// compare makes the tests, and prints a row for each when it is through.
func (s *stage) compare(ctx context.Context, chosen []test, rounds int) error {
	printHead(os.Stdout)
	missed := 0
	for _, t := range chosen {
		got, err := s.sample(ctx, t, rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", t.title, err)
		}
		if !printRow(os.Stdout, t, got) {
			missed++
		}
	}
	if missed > 0 {
		return fmt.Errorf("adit misses %d of its floors", missed)
	}
	return nil
}

// sample makes one test, round by round: adit and ssh as a pair, each first in
// every other one, and the plain hops after them.
func (s *stage) sample(ctx context.Context, t test, rounds int) (samples, error) {
	var got samples
	for round := range rounds {
		adit := turn{s.adit, &got.adit}
		ssh := turn{s.ssh, &got.ssh}
		turns := []turn{adit, ssh}
		if round%2 == 1 {
			turns = []turn{ssh, adit}
		}
		if t.hops {
			turns = append(turns, turn{s.hops, &got.hops})
		}
		for _, turn := range turns {
			v, err := s.take(ctx, t, turn.over)
			if err != nil {
				return got, err
			}
			*turn.into = append(*turn.into, v)
		}
	}
	return got, nil
}

// turn is one run of a test: over which route, and where its result goes.
type turn struct {
	over *route
	into *[]float64
}

func (s *stage) take(ctx context.Context, t test, r *route) (float64, error) {
	if t.fresh {
		if err := s.restart(ctx, r); err != nil {
			return 0, err
		}
	}
	f, err := s.load(ctx, r, t.load...)
	if err != nil {
		return 0, err
	}
	v := t.value(f)
	if v <= 0 {
		return 0, errors.New("nothing was measured; memory and CPU time are read from Linux's /proc")
	}
	return v, nil
}
