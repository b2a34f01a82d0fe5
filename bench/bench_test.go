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
	share := test{title: "share", least: 0.9}
	for _, c := range []struct {
		of              test
		adit, reference float64
		want            bool
	}{
		{ratio, 90, 100, true},
		{ratio, 89, 100, false},
		{size, 39, 20, true},
		{size, 40, 80, false},
		{share, 0.9, 1.2, true},
		{share, 0.89, 0.5, false},
		{test{title: "free"}, 1, 100, true},
	} {
		var row strings.Builder
		if got := printRow(&row, c.of, values{subject: []float64{c.adit}, reference: []float64{c.reference}}); got != c.want {
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
	printRow(&row, test{title: "speed"}, values{subject: []float64{1}, reference: []float64{2}, beside: [][]float64{{33, 35, 34}, nil}})
	for column, want := range map[string]string{"adit": "1.00", "ssh -L": "2.00", "2 hops": "34.0", "other": "-"} {
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
		{"", "rtt,loss", "forward/rtt relay/rtt linksocks/rtt wire/loss"},
		{"", "rtt16k,idle", "forward/idle relay/idle linksocks/rtt16k linksocks/idle"},
		{"wire,linksocks", "down,up", "wire/down wire/up linksocks/down linksocks/up"},
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

// What a suite lacks here is a line, and an error where somebody counts on it.
func TestASuiteThatLacksSomethingIsLeftOutUnlessItIsCountedOn(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	t.Setenv("CI", "")
	both := []suite{forwardSuite, relaySuite}
	got, err := possible(both, new(tools), options{})
	if err != nil || named(got) != named([]suite{relaySuite}) {
		t.Errorf("without OpenSSH: %s, %v", named(got), err)
	}
	if _, err := possible(both, new(tools), options{suite: "forward,relay"}); err == nil || !strings.Contains(err.Error(), "openssh-client") {
		t.Errorf("asked for by name: %v", err)
	}
	t.Setenv("CI", "true")
	if _, err := possible(both, new(tools), options{}); err == nil {
		t.Error("left out in CI")
	}
}

func TestARowFromTheSameRunsHasItsOwnValue(t *testing.T) {
	t.Parallel()
	some := []figures{{MBps: 90, AloneMBps: 100, RSSMB: 40}}
	row := test{value: besides, also: []test{{value: peak}}}
	for want, of := range map[float64]test{0.9: row, 40: row.also[0]} {
		if v, err := of.values(samples{subject: some, reference: some}); err != nil || v.subject[0] != want {
			t.Errorf("got %v, %v, want %v", v, err, want)
		}
	}
	if _, err := row.values(samples{subject: some, reference: []figures{{}}}); err == nil {
		t.Error("what was not measured is a figure")
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
