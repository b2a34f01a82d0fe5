package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// times collects what each exchange took, over goroutines.
type times struct {
	mu  sync.Mutex // guards below
	all []time.Duration
}

func (t *times) add(some []time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.all = append(t.all, some...)
}

// share is how many of the l.n exchanges the worker makes.
func (l *load) share(worker int) int {
	n := l.n / l.streams
	if worker < l.n%l.streams {
		n++
	}
	return n
}

// rtt sends l.size bytes and waits for their echo, l.n times in all, on
// l.streams connections at once.
func (l *load) rtt(ctx context.Context, dial dialer, res *result) {
	var took times
	var all sync.WaitGroup
	start := time.Now()
	for w := range l.streams {
		all.Go(func() {
			mine, err := l.echoes(ctx, dial, l.share(w))
			if err != nil {
				res.fail(err)
			}
			took.add(mine)
		})
	}
	all.Wait()
	res.Seconds = time.Since(start).Seconds()
	res.quantiles(took.all)
}

func (l *load) echoes(ctx context.Context, dial dialer, n int) ([]time.Duration, error) {
	c, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	bound(ctx, c)
	if _, err := c.Write([]byte{modeEcho}); err != nil {
		return nil, err
	}
	out, in := pattern[:l.size], make([]byte, l.size)
	took := make([]time.Duration, 0, n)
	for range n {
		t := time.Now()
		if _, err := c.Write(out); err != nil {
			return took, err
		}
		if _, err := io.ReadFull(c, in); err != nil {
			return took, err
		}
		took = append(took, time.Since(t))
		if !bytes.Equal(in, out) {
			return took, errors.New("the echo is not what was sent")
		}
	}
	return took, nil
}

// connect opens a connection, exchanges one byte and closes it, l.n times in
// all, l.streams at once: the cost of a short request.
func (l *load) connect(ctx context.Context, dial dialer, res *result) {
	var took times
	var all sync.WaitGroup
	start := time.Now()
	for w := range l.streams {
		all.Go(func() {
			var mine []time.Duration
			for range l.share(w) {
				if ctx.Err() != nil {
					res.fail(ctx.Err())
					break
				}
				t := time.Now()
				c, err := live(ctx, dial)
				if err != nil {
					res.fail(err)
					continue
				}
				c.Close()
				mine = append(mine, time.Since(t))
			}
			took.add(mine)
		})
	}
	all.Wait()
	res.Seconds = time.Since(start).Seconds()
	res.quantiles(took.all)
}

// live opens a connection through which one byte has gone there and back.
func live(ctx context.Context, dial dialer) (net.Conn, error) {
	c, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	bound(ctx, c)
	if err := echoByte(c, modeEcho, 'x'); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// echoByte writes what is sent and waits for the last byte of it.
func echoByte(c net.Conn, sent ...byte) error {
	if _, err := c.Write(sent); err != nil {
		return err
	}
	var b [1]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		return err
	}
	if b[0] != sent[len(sent)-1] {
		return errors.New("the echo is not what was sent")
	}
	return nil
}

const (
	// idleOpeners is how many connections idle opens at once.
	idleOpeners = 8
	// settleTime is how long they are silent before their memory is measured.
	settleTime = 2 * time.Second
)

// idle holds l.n live connections open, reports the memory they cost over rss0,
// and checks that each still echoes.
func (l *load) idle(ctx context.Context, dial dialer, res *result, rss0 int64) {
	opened := make(chan net.Conn, l.n)
	var all sync.WaitGroup
	start := time.Now()
	for w := range idleOpeners {
		all.Go(func() {
			for i := w; i < l.n; i += idleOpeners {
				c, err := live(ctx, dial)
				if err != nil {
					res.fail(err)
					continue
				}
				opened <- c
			}
		})
	}
	all.Wait()
	close(opened)
	res.N = len(opened)
	res.Seconds = time.Since(start).Seconds()
	time.Sleep(settleTime)
	rss, _ := usage(l.pids)
	res.RSSMB = round(float64(rss) / 1e6)
	if res.N > 0 {
		res.KBPerConn = round(float64(rss-rss0) / 1e3 / float64(res.N))
	}
	for c := range opened {
		if err := echoByte(c, 'y'); err != nil {
			res.fail(fmt.Errorf("idle connection lost: %w", err))
		}
		c.Close()
	}
}
