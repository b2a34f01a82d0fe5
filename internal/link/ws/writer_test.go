package ws

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// written gives what a Conn puts on a TCP connection.
func written(t *testing.T, cfg Config, write func(c *Conn)) []byte {
	t.Helper()
	near, far := tcpPair(t)
	all := make(chan []byte, 1)
	go func() {
		b, _ := io.ReadAll(far)
		all <- b
	}()
	c := New(near, nil, cfg)
	write(c)
	c.Close()
	return <-all
}

func TestAMessageIsOneFrameOfAllItsParts(t *testing.T) {
	t.Parallel()
	sizes := [][]int{
		{}, {0}, {0, 0, 0}, {1}, {8, 117}, {8, 118}, {3, 0, 4089}, {8, gatherFrom - 9}, {8, gatherFrom - 8}, {13, 65523 - 13}, {8, 64 << 10},
		{sendSize - 14}, {sendSize - 13}, {8, pieceSize - 8 - 10}, {8, pieceSize}, {1, 1, 1, 2*pieceSize - 3, 5}, {8, 1<<20 + 3},
	}
	for _, client := range []bool{false, true} {
		for _, owned := range []bool{false, true} {
			wire := written(t, Config{Client: client}, func(c *Conn) {
				for _, size := range sizes {
					if err := writeParts(c, owned, size); err != nil {
						t.Fatal(err)
					}
				}
			})
			said, whole := refFrames(wire)
			if !whole || len(said) != len(sizes) {
				t.Fatalf("%d frames, whole %v", len(said), whole)
			}
			for i, f := range said {
				var want []byte
				for _, n := range sizes[i] {
					want = append(want, noise(n)...)
				}
				if f.first != finBit|byte(Binary) || f.masked != client || !bytes.Equal(f.payload, want) {
					t.Errorf("client %v, owned %v: parts of %v are frame %02x of %d bytes, masked %v", client, owned, sizes[i], f.first, len(f.payload), f.masked)
				}
			}
		}
	}
}

// writeParts writes parts of noise, and fails if they are changed without leave.
func writeParts(c *Conn, owned bool, sizes []int) error {
	var parts [][]byte
	for _, n := range sizes {
		parts = append(parts, noise(n))
	}
	if owned {
		return c.WriteOwned(Binary, parts...)
	}
	if err := c.WriteMessage(Binary, parts...); err != nil {
		return err
	}
	for i, n := range sizes {
		if !bytes.Equal(parts[i], noise(n)) {
			return fmt.Errorf("part %d of %v was changed", i, sizes)
		}
	}
	return nil
}

func TestEveryFrameHasItsOwnMask(t *testing.T) {
	t.Parallel()
	wire := written(t, Config{Client: true}, func(c *Conn) {
		for range 100 {
			c.WriteMessage(Binary, []byte("x"))
		}
	})
	keys := map[uint32]bool{}
	for ; len(wire) > 0; wire = wire[7:] {
		keys[binary.BigEndian.Uint32(wire[2:])] = true
	}
	if len(keys) != 100 {
		t.Errorf("%d keys for 100 frames", len(keys))
	}
}

// Everything at once, between both ends: messages of many goroutines, pings of
// both, and whole messages at the other side in the order of each goroutine.
func TestManyWritersDoNotMix(t *testing.T) {
	t.Parallel()
	near, far := tcpPair(t)
	a := New(near, nil, Config{Client: true})
	b := New(far, nil, Config{})
	var work sync.WaitGroup
	for _, c := range []*Conn{a, b} {
		work.Go(func() { receiveNumbered(t, c) })
		for writer := range 4 {
			work.Go(func() {
				for n := range 200 {
					body := noise(n * n % 9000)
					head := []byte{byte(writer), byte(n)}
					if err := c.WriteMessage(Binary, head, body); err != nil {
						t.Error(err)
					}
					if n%3 == 0 {
						c.Ping(head)
					}
				}
			})
		}
	}
	work.Wait()
	a.SendClose(CodeNormal, "")
	var closed *CloseError
	if _, err := b.Next(); !errors.As(err, &closed) {
		t.Error(err)
	}
	if _, err := a.Next(); !errors.As(err, &closed) {
		t.Error(err)
	}
	work.Go(func() { b.Close() })
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	work.Wait()
}

// receiveNumbered takes 200 messages of each of 4 writers.
func receiveNumbered(t *testing.T, c *Conn) {
	var next [4]byte
	var buf []byte
	for range 4 * 200 {
		var err error
		if _, buf, err = c.ReadMessage(buf); err != nil {
			t.Error(err)
			return
		}
		writer, n := buf[0], buf[1]
		if n != next[writer] || !bytes.Equal(buf[2:], noise(int(n)*int(n)%9000)) {
			t.Errorf("message %d of writer %d, want %d, or other bytes", n, writer, next[writer])
		}
		next[writer] = n + 1
	}
}

func TestWritingAllocatesNothing(t *testing.T) {
	for _, client := range []bool{false, true} {
		near, far := tcpPair(t)
		go drain(far)
		c := New(near, nil, Config{Client: client})
		head, body := make([]byte, 8), make([]byte, 64<<10)
		if n := testing.AllocsPerRun(100, func() {
			c.WriteMessage(Binary, head, body)
			c.WriteOwned(Binary, head, body)
			c.WriteMessage(Binary, head)
		}); n >= 1 && !(poolForgets && n <= 3) {
			t.Errorf("client %v: %v allocations for three messages", client, n)
		}
		c.Close()
	}
}

func TestASocketThatTakesNothingIsGivenUp(t *testing.T) {
	t.Parallel()
	for _, client := range []bool{false, true} {
		near, far := tcpPair(t)
		c := New(near, nil, Config{Client: client, WriteTimeout: 50 * time.Millisecond})
		end := make(chan error, 1)
		go func() {
			_, err := c.Next()
			end <- err
		}()
		body := make([]byte, 1<<20)
		var err error
		for range 100 { // until all buffers are full
			if err = c.WriteMessage(Binary, body); err != nil {
				break
			}
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(err)
		}
		if err := <-end; !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the reader: %v", err)
		}
		far.Close()
		c.Close()
	}
}

// countedDeadlines counts how often the deadline is set.
type countedDeadlines struct {
	net.Conn
	set  int
	last time.Time
}

func (c *countedDeadlines) Write(p []byte) (int, error) { return len(p), nil }
func (c *countedDeadlines) SetWriteDeadline(t time.Time) error {
	c.set++
	c.last = t
	return nil
}

func TestMostOfTheTimeoutIsLeftForEveryFrame(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		conn := &countedDeadlines{}
		c := New(conn, nil, Config{WriteTimeout: 8 * time.Second})
		for range 100 {
			c.WriteMessage(Binary, nil)
			if left := time.Until(conn.last); left < 7*time.Second || left > 8*time.Second {
				t.Errorf("%v left", left)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if conn.set != 10 {
			t.Errorf("set %d times in 10 s", conn.set)
		}
	})
}

// Who writes one long message behind the other must not keep others from
// writing: he would always be there first.
func TestMessagesLeaveInTheOrderInWhichTheyWereAskedFor(t *testing.T) {
	bothSides(t, func(t *testing.T, cfg Config) {
		c, p := pair(t, cfg)
		long := strings.Repeat("l", 100<<10) // more than the network holds
		var writing sync.WaitGroup
		writing.Go(func() {
			for range 3 {
				c.WriteMessage(Binary, []byte(long))
			}
		})
		synctest.Wait()
		for _, text := range []string{"first", "second"} {
			writing.Go(func() { c.WriteMessage(Binary, []byte(text)) })
			synctest.Wait()
		}
		for _, want := range []string{long, "first", "second", long, long} {
			p.expect(Binary, want)
		}
		writing.Wait()
		c.Close()
	})
}
