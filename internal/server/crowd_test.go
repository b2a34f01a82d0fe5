//go:build unix

package server

import (
	"io"
	"net"
	"net/http"
	"runtime"
	"syscall"
	"testing"
	"time"
)

// crowdSize is how many connections to itself the process may have, up to 10 000.
func crowdSize(t testing.TB) int {
	t.Helper()
	var files syscall.Rlimit // the runtime has raised it to what is allowed
	must(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files))
	n := 10_000
	if files.Cur < 2*10_000+500 {
		n = (int(files.Cur) - 500) / 2
	}
	if n < 4000 {
		t.Fatalf("only %d connections fit in %d file descriptors", n, files.Cur)
	}
	return n
}

// limitEach is what a stranger may cost, in bytes.
func limitEach() int64 {
	if underRace {
		return 24 << 10
	}
	return 16 << 10
}

// memory is what the process's own memory holds, in bytes.
func memory() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// This test runs alone, since it reckons the memory of the process. Both ends of
// each connection are in it.
func TestThousandsWithoutAWordCostLittleAndDelayNobody(t *testing.T) {
	r := startRelay(t, relayOptions{}, nil)
	address := r.ln.Addr().String()
	n := crowdSize(t)
	guests := make([]net.Conn, 0, n)
	defer func() {
		for _, c := range guests {
			_ = c.(*net.TCPConn).SetLinger(0)
			_ = c.Close()
		}
	}()
	before := memory()
	began := time.Now()
	for range n {
		c, err := net.Dial("tcp", address)
		must(t, err)
		guests = append(guests, c)
	}
	eventually(t, "all are in", func() bool { return r.ln.strangers() >= min(n, maxStrangers) || time.Since(began) > firstByteTimeout })
	each := (int64(memory()) - int64(before)) / int64(n)
	t.Logf("%d connections, %d bytes each, in %v", n, each, time.Since(began))
	if each > limitEach() {
		t.Errorf("each costs %d bytes", each)
	}
	eventually(t, "there are no more than may be", func() bool { return r.ln.strangers() <= maxStrangers })
	asked := time.Now()
	if got := get(t, address, "/"); got.StatusCode != http.StatusOK {
		t.Errorf("status %d", got.StatusCode)
	}
	if d := time.Since(asked); d > time.Second {
		t.Errorf("a proper client waited for %v", d)
	}
}

// This test runs alone, too.
func TestAWebSocketWithoutAFirstMessageCostsLittle(t *testing.T) {
	r := startRelay(t, relayOptions{}, nil)
	const n = 2000
	before := memory()
	head := make([]byte, len("HTTP/1.1 101"))
	for range n {
		c := connect(t, r.ln.Addr().String())
		_, err := io.WriteString(c, "GET /socket HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
		must(t, err)
		if _, err := io.ReadFull(c, head); err != nil || string(head) != "HTTP/1.1 101" {
			t.Fatalf("%q, %v", head, err)
		}
	}
	eventually(t, "all are taken over", func() bool { return r.ln.strangers() == 0 })
	each := (int64(memory()) - int64(before)) / n
	t.Logf("%d bytes each", each)
	if each > limitEach() {
		t.Errorf("each costs %d bytes", each)
	}
}
