package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// bulk moves l.bytes on each of l.streams connections at once, which are opened
// before the clock starts.
func (l *load) bulk(ctx context.Context, dial dialer, res *result) {
	want := sumOf(l.bytes)
	conns := make([]net.Conn, 0, l.streams)
	for range l.streams {
		c, err := dial(ctx)
		if err != nil {
			res.fail(err)
			continue
		}
		defer c.Close()
		conns = append(conns, c)
	}
	var moved atomic.Int64
	start := time.Now()
	var all sync.WaitGroup
	for _, c := range conns {
		all.Go(func() {
			bound(ctx, c)
			sum, n, err := l.move(c)
			moved.Add(n)
			switch {
			case err != nil:
				res.fail(err)
			case sum != nil && [sha256.Size]byte(sum) != want:
				res.spoiled()
			}
		})
	}
	all.Wait()
	res.Seconds = time.Since(start).Seconds()
	res.Bytes = moved.Load()
}

// move carries l.bytes one way. It returns the SHA-256 that the receiving end
// has, or nil where nobody computed it, and how many bytes went.
func (l *load) move(c net.Conn) (sum []byte, n int64, err error) {
	if l.test == "up" {
		return l.upload(c)
	}
	if err := ask(c, modeGive, l.bytes); err != nil {
		return nil, 0, err
	}
	if l.hash {
		h := sha256.New()
		n, err := receive(h, c, l.bytes)
		return h.Sum(nil), n, err
	}
	n, err = receive(io.Discard, c, l.bytes)
	return nil, n, err
}

// upload has the target say what it received: the SHA-256, or only how much,
// which leaves the path more of the machine.
func (l *load) upload(c net.Conn) (sum []byte, n int64, err error) {
	mode := byte(modeCount)
	if l.hash {
		mode = modeSum
	}
	if err := ask(c, mode, l.bytes); err != nil {
		return nil, 0, err
	}
	n, err = io.CopyBuffer(onlyWriter{c}, io.LimitReader(newStream(), l.bytes), make([]byte, copyBuffer))
	if err != nil {
		return nil, n, err
	}
	if l.hash {
		sum = make([]byte, sha256.Size)
		_, err = io.ReadFull(c, sum)
		return sum, n, err
	}
	var count [8]byte
	if _, err := io.ReadFull(c, count[:]); err != nil {
		return nil, n, err
	}
	if got := int64(binary.BigEndian.Uint64(count[:])); got != n {
		return nil, n, fmt.Errorf("the target got %d of %d bytes", got, n)
	}
	return nil, n, nil
}

// ask writes the first bytes of a connection.
func ask(c net.Conn, mode byte, n int64) error {
	_, err := c.Write(binary.BigEndian.AppendUint64([]byte{mode}, uint64(n)))
	return err
}

// receive reads total bytes; fewer are an error.
func receive(w io.Writer, c net.Conn, total int64) (int64, error) {
	n, err := io.CopyBuffer(onlyWriter{w}, io.LimitReader(onlyReader{c}, total), make([]byte, copyBuffer))
	if err == nil && n < total {
		err = fmt.Errorf("got %d of %d bytes: %w", n, total, io.ErrUnexpectedEOF)
	}
	return n, err
}

// onlyWriter and onlyReader hide the short cuts that io.Copy would take past our buffer.
type onlyWriter struct{ io.Writer }
type onlyReader struct{ io.Reader }

// slow times a download alone, then opens a connection whose reader stalls with
// data in flight, times the same download beside it, and finally drains the first
// and checks it: a stalled reader must neither starve its neighbours nor lose a
// byte. The memory it reports is the peak from the stall to the drain.
func (l *load) slow(ctx context.Context, dial dialer, res *result) {
	download := load{test: "down", streams: 1, bytes: l.bytes, hash: true}
	var alone result
	download.within(ctx, dial, &alone)
	if alone.Errors > 0 {
		res.fail(fmt.Errorf("the download alone: %s", alone.FirstErr))
		return
	}
	res.AloneMBps = round(float64(alone.Bytes) / 1e6 / alone.Seconds)

	peak := watchRSS(l.pids)
	defer func() { res.RSSMB = round(float64(peak()) / 1e6) }()
	stalled, err := dial(ctx)
	if err != nil {
		res.fail(err)
		return
	}
	defer stalled.Close()
	bound(ctx, stalled)
	if err := ask(stalled, modeGive, l.bytes); err != nil {
		res.fail(err)
		return
	}
	time.Sleep(stallTime)
	download.within(ctx, dial, res)
	peak()

	h := sha256.New()
	n, err := receive(h, stalled, l.bytes)
	switch {
	case err != nil:
		res.fail(fmt.Errorf("the stalled stream, after %d bytes: %w", n, err))
	case [sha256.Size]byte(h.Sum(nil)) != sumOf(l.bytes):
		res.spoiled()
	}
}

const (
	// stallTime lets all buffers between the target and the stalled reader fill.
	stallTime = 2 * time.Second
	// downloadTimeout bounds each of slow's downloads, so that a starved one shows as such.
	downloadTimeout = 20 * time.Second
)

func (l *load) within(ctx context.Context, dial dialer, res *result) {
	ctx, cancel := context.WithTimeout(ctx, downloadTimeout)
	defer cancel()
	l.bulk(ctx, dial, res)
}
