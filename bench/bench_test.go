package main

import (
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
		of        test
		adit, ssh float64
		want      bool
	}{
		{ratio, 90, 100, true},
		{ratio, 89, 100, false},
		{size, 39, 20, true},
		{size, 40, 80, false},
		{test{title: "free"}, 1, 100, true},
	} {
		var row strings.Builder
		if got := printRow(&row, c.of, samples{adit: []float64{c.adit}, ssh: []float64{c.ssh}}); got != c.want {
			t.Errorf("%v beside %v: reached is %v", c.adit, c.ssh, got)
		}
		if missed := strings.Contains(row.String(), "MISSED"); missed == c.want {
			t.Errorf("%v beside %v reads %q", c.adit, c.ssh, row.String())
		}
	}
}

func TestOnlySelectsByNameAndRefusesOthers(t *testing.T) {
	t.Parallel()
	got, err := selectTests("rtt,down")
	if err != nil || len(got) != 2 || got[0].name != "rtt" || got[1].name != "down" {
		t.Errorf("got %v, %v", got, err)
	}
	if _, err := selectTests("down,dwon"); err == nil {
		t.Error("a name that is no test's is taken")
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
