package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/adit-tunnel/adit/internal/testx/wire"
)

// suite is a way in which adit is used, and what it is held against there.
type suite struct {
	name  string // for -suite
	title string
	long  bool // over a wire, not on loopback
	tests []test
	// check tells why the suite cannot be made on this machine, and completes
	// the tools; nil if it always can.
	check func(*tools) error
	// open starts what stands between the routes and the target, and gives the
	// stage its routes.
	open func(context.Context, *stage) error
}

var suites = []suite{forwardSuite, relaySuite, linksocksSuite, wireSuite}

// test is one kind of work, and what adit must reach at it.
type test struct {
	name  string // for -only
	title string
	unit  string
	load  []string // tunload's flags
	value func(figures) float64

	floor  float64 // the least ratio to the reference; 0: none
	least  float64 // what adit's own figure must reach; 0: nothing
	below  float64 // what adit's own figure must stay under; 0: nothing
	often  int     // it is made so many times as often as others: its rounds differ by luck
	fresh  bool    // on processes that have done nothing before: memory once used is not soon given back
	beside bool    // the routes that are shown beside the two are measured too
	also   []test  // other rows from the same runs, of which title, unit, value and limits count

	peer []string // what the relay's client is told for it
	loss float64  // the share of packets that the wire loses
	bbr  bool     // only where TCP on the wire uses BBR
}

func speed(f figures) float64    { return f.MBps }
func rate(f figures) float64     { return f.PerSecond }
func memory(f figures) float64   { return f.KBPerConn }
func peak(f figures) float64     { return f.RSSMB }
func halfTime(f figures) float64 { return f.HalfUs / 1000 }

// besides is the speed beside a stalled reader, as a share of the speed alone.
func besides(f figures) float64 { return f.MBps / f.AloneMBps }

// inCPUTime gives the same tests, measured by what they cost the processes of
// adit and of the reference. What is beside them is left out: ssh and adit's
// forward are one process each, two hops are two.
func inCPUTime(chosen []test) []test {
	var costs []test
	for _, t := range chosen {
		t.unit, t.value = "CPU ms", func(f figures) float64 { return 1000 * f.CPUSeconds }
		t.floor, t.least, t.below, t.beside, t.also = 0, 0, 0, false, nil
		costs = append(costs, t)
	}
	return costs
}

func suiteNames() []string {
	var names []string
	for _, s := range suites {
		names = append(names, s.name)
	}
	return names
}

// testNames are those of the tests of some suites, each once.
func testNames(of []suite) []string {
	var names []string
	for _, s := range of {
		for _, t := range s.tests {
			if !slices.Contains(names, t.name) {
				names = append(names, t.name)
			}
		}
	}
	return names
}

// choose reads -suite and -only: the suites to make, each with the tests to
// make of it. Both are comma-separated, and empty for all.
func choose(suite, only string) ([]suite, error) {
	chosen, err := selectSuites(suite)
	if err != nil || only == "" {
		return chosen, err
	}
	return selectTests(chosen, only)
}

func selectSuites(list string) ([]suite, error) {
	if list == "" {
		return slices.Clone(suites), nil
	}
	var chosen []suite
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(suites, func(s suite) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no suite %q; there are %s", name, strings.Join(suiteNames(), " "))
		}
		chosen = append(chosen, suites[i])
	}
	return chosen, nil
}

// selectTests leaves the named tests in each suite that has them, and out the
// suites that have none.
func selectTests(from []suite, list string) ([]suite, error) {
	names := strings.Split(list, ",")
	for _, name := range names {
		if known := testNames(from); !slices.Contains(known, name) {
			return nil, fmt.Errorf("there is no test %q; there are %s", name, strings.Join(known, " "))
		}
	}
	var chosen []suite
	for _, s := range from {
		var tests []test
		for _, name := range names {
			if i := slices.IndexFunc(s.tests, func(t test) bool { return t.name == name }); i >= 0 {
				tests = append(tests, s.tests[i])
			}
		}
		if s.tests = tests; len(tests) > 0 {
			chosen = append(chosen, s)
		}
	}
	return chosen, nil
}

// run sets the stage, makes the suite's tests, clears the stage away, and
// returns how many floors adit missed.
func (of suite) run(ctx context.Context, dir string, tools tools, o options) (missed int, err error) {
	s := &stage{dir: filepath.Join(dir, of.name), tools: tools, cipher: o.cipher}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return 0, err
	}
	defer s.close()
	fmt.Printf("%s\n\n", of.title)
	if err := s.open(ctx, of); err != nil {
		return 0, err
	}
	if err := s.verify(ctx); err != nil {
		return 0, err
	}
	return s.compare(ctx, of.tests, o.rounds)
}

// samples are what a test's runs came to, in the order of the rounds.
type samples struct {
	subject, reference []figures
	beside             [][]figures // of each route; none where the test is not made there
}

// compare makes the tests, and prints a row for each when it is through. It
// returns how many floors adit missed.
func (s *stage) compare(ctx context.Context, tests []test, rounds int) (missed int, err error) {
	printHead(os.Stdout, s.routes())
	for _, t := range tests {
		if why := s.unfit(t); why != "" {
			fmt.Printf("%s: left out: %s\n", t.title, why)
			continue
		}
		got, err := s.sample(ctx, t, rounds*max(t.often, 1))
		if err != nil {
			return missed, fmt.Errorf("%s: %w", t.title, err)
		}
		for _, row := range append([]test{t}, t.also...) {
			v, err := row.values(got)
			if err != nil {
				return missed, fmt.Errorf("%s: %w", row.title, err)
			}
			if !printRow(os.Stdout, row, v) {
				missed++
			}
		}
	}
	return missed, nil
}

// sample makes one test, round by round: adit and the reference as a pair, each
// first in every other one, and what is shown beside them afterwards.
func (s *stage) sample(ctx context.Context, t test, rounds int) (samples, error) {
	got := samples{beside: make([][]figures, len(s.beside))}
	for round := range rounds {
		turns := []turn{{s.subject, &got.subject}, {s.reference, &got.reference}}
		if round%2 == 1 {
			slices.Reverse(turns)
		}
		if t.beside {
			for i, r := range s.beside {
				turns = append(turns, turn{r, &got.beside[i]})
			}
		}
		for _, turn := range turns {
			f, err := s.take(ctx, t, turn.over)
			if err != nil {
				return got, err
			}
			*turn.into = append(*turn.into, f)
		}
	}
	return got, nil
}

// turn is one run of a test: over which route, and where its result goes.
type turn struct {
	over *route
	into *[]figures
}

// take makes one run, on a stage that is as the test wants it.
func (s *stage) take(ctx context.Context, t test, r *route) (figures, error) {
	if s.wire != nil {
		s.wire.Set(wire.Conditions{Delay: oneWay, Loss: t.loss})
	}
	changed := r == s.subject && !slices.Equal(t.peer, r.more)
	if changed {
		r.more = t.peer
	}
	if t.fresh || changed {
		if err := s.restart(ctx, r); err != nil {
			return figures{}, err
		}
	}
	return s.load(ctx, r, t.load...)
}

// values are what a row shows of the samples.
type values struct {
	subject, reference []float64
	beside             [][]float64
}

func (t test) values(of samples) (v values, err error) {
	if v.subject, err = t.valuesOf(of.subject); err != nil {
		return v, err
	}
	if v.reference, err = t.valuesOf(of.reference); err != nil {
		return v, err
	}
	for _, some := range of.beside {
		values, err := t.valuesOf(some)
		if err != nil {
			return v, err
		}
		v.beside = append(v.beside, values)
	}
	return v, nil
}

func (t test) valuesOf(some []figures) ([]float64, error) {
	var values []float64
	for _, f := range some {
		v := t.value(f)
		if v <= 0 || math.IsNaN(v) {
			return nil, errors.New("nothing was measured; memory and CPU time are read from Linux's /proc")
		}
		values = append(values, v)
	}
	return values, nil
}
