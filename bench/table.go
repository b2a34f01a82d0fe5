package main

import (
	"fmt"
	"io"
	"slices"
)

const rowFormat = "%-32s %-8s %8s %8s %6s  %-11s %-6s %-6s %8s\n"

func printHead(w io.Writer) {
	fmt.Fprintf(w, rowFormat, "median of the rounds", "", "adit", "ssh -L", "ratio", "in pairs", "floor", "", "2 hops")
}

// printRow prints what came of a test and reports whether adit reached its floor.
func printRow(w io.Writer, t test, got samples) bool {
	adit, ssh := median(got.adit), median(got.ssh)
	ratio := adit / ssh
	floor, verdict, reached := "-", "", true
	switch {
	case t.floor > 0:
		floor, reached = fmt.Sprintf("%.2f", t.floor), ratio >= t.floor
	case t.below > 0:
		floor, reached = fmt.Sprintf("< %.0f", t.below), adit < t.below
	}
	if floor != "-" {
		verdict = "ok"
	}
	if !reached {
		verdict = "MISSED"
	}
	hops := "-"
	if t.hops {
		hops = fmt.Sprintf("%.0f", median(got.hops))
	}
	fmt.Fprintf(w, rowFormat, t.title, t.unit, fmt.Sprintf("%.0f", adit), fmt.Sprintf("%.0f", ssh),
		fmt.Sprintf("%.2f", ratio), spread(got), floor, verdict, hops)
	return reached
}

// spread is the lowest and the highest ratio of a pair: how far to trust the median's.
func spread(got samples) string {
	pairs := make([]float64, len(got.adit))
	for i := range pairs {
		pairs[i] = got.adit[i] / got.ssh[i]
	}
	return fmt.Sprintf("%.2f-%.2f", slices.Min(pairs), slices.Max(pairs))
}

// median is the middle value, or the mean of the two in the middle.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
