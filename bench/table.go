package main

import (
	"fmt"
	"io"
	"slices"
)

const (
	rowFormat    = "%-32s %-8s %8s %9s %6s  %-11s %-6s %-6s"
	besideFormat = " %8s"
)

// printHead names the columns: the routes are adit's, the reference, and what
// is shown beside the two.
func printHead(w io.Writer, routes []*route) {
	fmt.Fprintf(w, rowFormat, "median of the rounds", "", routes[0].name, routes[1].name, "ratio", "in pairs", "floor", "")
	for _, r := range routes[2:] {
		fmt.Fprintf(w, besideFormat, r.name)
	}
	fmt.Fprintln(w)
}

// printRow prints what came of a test and reports whether adit reached its floor.
func printRow(w io.Writer, t test, got values) bool {
	subject, reference := median(got.subject), median(got.reference)
	ratio := subject / reference
	floor, verdict, reached := "-", "", true
	switch {
	case t.floor > 0:
		floor, reached = fmt.Sprintf("%.2f", t.floor), ratio >= t.floor
	case t.least > 0:
		floor, reached = fmt.Sprintf(">= %.2g", t.least), subject >= t.least
	case t.below > 0:
		floor, reached = fmt.Sprintf("< %.0f", t.below), subject < t.below
	}
	if floor != "-" {
		verdict = "ok"
	}
	if !reached {
		verdict = "MISSED"
	}
	fmt.Fprintf(w, rowFormat, t.title, t.unit, shown(subject), shown(reference),
		fmt.Sprintf("%.2f", ratio), spread(got), floor, verdict)
	for _, values := range got.beside {
		text := "-"
		if len(values) > 0 {
			text = shown(median(values))
		}
		fmt.Fprintf(w, besideFormat, text)
	}
	fmt.Fprintln(w)
	return reached
}

// shown has as many decimals as a figure of its size deserves.
func shown(v float64) string {
	switch {
	case v < 10:
		return fmt.Sprintf("%.2f", v)
	case v < 100:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// spread is the lowest and the highest ratio of a pair: how far to trust the median's.
func spread(got values) string {
	pairs := make([]float64, len(got.subject))
	for i := range pairs {
		pairs[i] = got.subject[i] / got.reference[i]
	}
	return fmt.Sprintf("%.2f-%.2f", slices.Min(pairs), slices.Max(pairs))
}

// median is the middle value, or the mean of the two in the middle.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
