// Command wire opens a wire (internal/testx/wire) between two network
// namespaces, for trying things over a long way by hand. It needs root and
// /dev/net/tun.
//
//	wire -delay 50ms -loss 0.01
//
// It prints one line when the wire is there, with a command that enters each side:
//
//	wire ready left=10.99.0.1 (nsenter --net=/proc/7/fd/8) right=10.99.0.2 (nsenter --net=/proc/7/fd/9)
//
// and then does what it reads, a line each, until its input ends:
//
//	delay 100ms             one way, half of a round trip
//	loss 0.02               the share of packets that vanish
//	rate 20e6               bytes a second; 0 has no limit
//	cut [right|left]        carry nothing, or nothing to that side
//	mend                    carry everything again
//	stats                   what happened to the packets, to either side
//
// The namespaces are gone when the last process in them is.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/adit-tunnel/adit/internal/testx/wire"
)

func main() {
	var c wire.Conditions
	flag.DurationVar(&c.Delay, "delay", 0, "one way, half of a round trip")
	flag.Float64Var(&c.Loss, "loss", 0, "share of packets that vanish, each way")
	rate := flag.Float64("rate", 0, "bytes a second each way; 0 has no limit")
	flag.Parse()
	c.Rate = int64(*rate)
	if err := run(c); err != nil {
		fmt.Fprintln(os.Stderr, "wire:", err)
		os.Exit(1)
	}
}

func run(c wire.Conditions) error {
	w, err := wire.Open(c)
	if err != nil {
		return err
	}
	defer w.Close()
	fmt.Printf("wire ready left=%v (nsenter --net=%s) right=%v (nsenter --net=%s)\n",
		w.Left.Addr, w.Left.Path(), w.Right.Addr, w.Right.Path())

	stopped := make(chan os.Signal, 1)
	signal.Notify(stopped, os.Interrupt, syscall.SIGTERM)
	ended := make(chan error, 1)
	go func() { ended <- obey(w, c, os.Stdin, os.Stdout) }()
	select {
	case <-stopped:
		return nil
	case err := <-ended:
		return err
	}
}

// obey does what in says, until it ends, and answers each line.
func obey(w *wire.Wire, c wire.Conditions, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		name, value, _ := strings.Cut(strings.TrimSpace(lines.Text()), " ")
		answer, err := do(w, &c, name, value)
		if err != nil {
			answer = "error: " + err.Error()
		}
		fmt.Fprintln(out, answer)
	}
	return lines.Err()
}

// do one command. c is what the wire does now, and is kept up.
func do(w *wire.Wire, c *wire.Conditions, name, value string) (answer string, err error) {
	next := *c
	switch name {
	case "delay":
		next.Delay, err = time.ParseDuration(value)
	case "loss":
		next.Loss, err = strconv.ParseFloat(value, 64)
	case "rate":
		var rate float64
		rate, err = strconv.ParseFloat(value, 64)
		next.Rate = int64(rate)
	case "cut":
		return cut(w, value)
	case "mend":
		w.Mend(wire.BothWays)
		return "ok", nil
	case "stats":
		right, left := w.Stats()
		return fmt.Sprintf("right %+v left %+v", right, left), nil
	default:
		return "", fmt.Errorf("no command %q", name)
	}
	if err != nil {
		return "", err
	}
	*c = next
	w.Set(next)
	return "ok", nil
}

func cut(w *wire.Wire, side string) (string, error) {
	to, ok := map[string]wire.Direction{"": wire.BothWays, "right": wire.LeftToRight, "left": wire.RightToLeft}[side]
	if !ok {
		return "", fmt.Errorf("no side %q", side)
	}
	w.Cut(to)
	return "ok", nil
}
