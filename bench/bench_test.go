package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

func TestMedianIsTheMiddle(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		values []float64
		want   float64
	}{
		{[]float64{7}, 7},
		{[]float64{9, 1, 5}, 5},
		{[]float64{10, 1, 2, 4}, 3},
	} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v is %v, want %v", c.values, got, c.want)
		}
	}
}

func TestARowTellsWhetherTheFloorWasReached(t *testing.T) {
	t.Parallel()
	ratio := test{title: "speed", floor: 0.9}
	size := test{title: "memory", below: 40}
	for _, c := range []struct {
		of              test
		adit, reference float64
		want            bool
	}{
		{ratio, 90, 100, true},
		{ratio, 89, 100, false},
		{size, 39, 20, true},
		{size, 40, 80, false},
		{test{title: "free"}, 1, 100, true},
	} {
		var row strings.Builder
		if got := printRow(&row, c.of, samples{subject: []float64{c.adit}, reference: []float64{c.reference}}); got != c.want {
			t.Errorf("%v beside %v: reached is %v", c.adit, c.reference, got)
		}
		if missed := strings.Contains(row.String(), "MISSED"); missed == c.want {
			t.Errorf("%v beside %v reads %q", c.adit, c.reference, row.String())
		}
	}
}

func TestEachRouteBesideHasAColumn(t *testing.T) {
	t.Parallel()
	var head, row strings.Builder
	printHead(&head, []*route{{name: "adit"}, {name: "ssh -L"}, {name: "2 hops"}, {name: "other"}})
	printRow(&row, test{title: "speed"}, samples{subject: []float64{1}, reference: []float64{2}, beside: [][]float64{{33, 35, 34}, nil}})
	for column, want := range map[string]string{"adit": "1", "ssh -L": "2", "2 hops": "34", "other": "-"} {
		end := strings.Index(head.String(), column) + len(column)
		if got := row.String()[:end]; !strings.HasSuffix(got, " "+want) {
			t.Errorf("under %q stands %q, want %s", column, got, want)
		}
	}
}

// named lists what was chosen, as suite/test.
func named(chosen []suite) string {
	var names []string
	for _, s := range chosen {
		for _, t := range s.tests {
			names = append(names, s.name+"/"+t.name)
		}
	}
	return strings.Join(names, " ")
}

func TestSuitesAndTestsAreSelectedByName(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ suite, only, want string }{
		{"", "", named(suites)},
		{"relay", "", named([]suite{relaySuite})},
		{"", "rtt,down", "forward/rtt forward/down relay/rtt relay/down"},
		{"", "rtt16k,idle", "forward/idle relay/rtt16k relay/idle"},
		{"", "rtt64k", "relay/rtt64k"},
		{"forward", "up", "forward/up"},
	} {
		got, err := choose(c.suite, c.only)
		if err != nil || named(got) != c.want {
			t.Errorf("-suite %q -only %q: %s, %v, want %s", c.suite, c.only, named(got), err, c.want)
		}
	}
	for _, c := range []struct{ suite, only string }{{"", "down,dwon"}, {"forward", "rtt16k"}, {"realy", ""}} {
		if got, err := choose(c.suite, c.only); err == nil {
			t.Errorf("-suite %q -only %q is taken for %s", c.suite, c.only, named(got))
		}
	}
}

func TestTheRelaySuiteNeedsNoOpenSSH(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := findTools([]suite{relaySuite}); err != nil {
		t.Error(err)
	}
	if _, err := findTools([]suite{relaySuite, forwardSuite}); err == nil || !strings.Contains(err.Error(), "openssh-client") {
		t.Errorf("without a PATH ssh is found: %v", err)
	}
}

func TestARouteIsMeasuredByAllItsProcesses(t *testing.T) {
	t.Parallel()
	r := route{processes: []*process{{cmd: &exec.Cmd{Process: &os.Process{Pid: 7}}}, {cmd: &exec.Cmd{Process: &os.Process{Pid: 9}}}}}
	if got := r.pids(); got != "7,9" {
		t.Errorf("got %q", got)
	}
}

func TestTheFirstLineIsHandedOnAndTheRestDropped(t *testing.T) {
	t.Parallel()
	line := make(chan string, 1)
	w := &firstLine{to: line}
	for _, part := range []string{"adit re", "ady\nmore", "\nand more\n"} {
		if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
			t.Fatalf("Write: %d, %v", n, err)
		}
	}
	if got := <-line; got != "adit ready" {
		t.Errorf("got %q", got)
	}
}
