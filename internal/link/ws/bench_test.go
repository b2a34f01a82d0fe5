package ws

import (
	"fmt"
	"io"
	"net"
	"testing"
)

// tcpPair returns both ends of one loopback connection.
func tcpPair(t testing.TB) (a, b *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return near.(*net.TCPConn), far.(*net.TCPConn)
}

// frames is a message as it is on the wire, in frames of at most this payload.
func frames(op Opcode, payload []byte, size int, masked bool) []byte {
	var wire []byte
	for first := true; first || len(payload) > 0; first = false {
		n := min(size, len(payload))
		h := header{op: op, masked: masked, length: int64(n)}
		if !first {
			h.op = opContinuation
		}
		if masked {
			h.key = 0x9d37_4af1 + uint32(len(payload))
		}
		at := len(wire)
		wire = appendHeader(wire, h)
		if n < len(payload) {
			wire[at] &^= finBit
		}
		body := len(wire)
		wire = append(wire, payload[:n]...)
		applyMask(wire[body:], wire[body:], h.key)
		payload = payload[n:]
	}
	return wire
}

// pump writes the same bytes again and again, many at a time, until it cannot.
func pump(c net.Conn, unit []byte) {
	var many []byte
	for len(many) < 256<<10 {
		many = append(many, unit...)
	}
	for {
		if _, err := c.Write(many); err != nil {
			return
		}
	}
}

var workloads = []struct {
	name    string
	message int
	frame   int
}{
	{"64KiB in 4KiB frames", 64 << 10, 4 << 10},
	{"64KiB frames", 64 << 10, 64 << 10},
	{"1MiB frames", 1 << 20, 1 << 20},
	{"64B frames", 64, 64},
}

func BenchmarkRead(b *testing.B) {
	for _, work := range workloads {
		payload := make([]byte, work.message)
		b.Run(work.name+"/raw TCP", func(b *testing.B) {
			near, far := tcpPair(b)
			go pump(far, payload)
			b.SetBytes(int64(len(payload)))
			for b.Loop() {
				if _, err := io.ReadFull(near, payload); err != nil {
					b.Fatal(err)
				}
			}
		})
		for _, client := range []bool{false, true} {
			cfg, side := Config{Client: client}, map[bool]string{false: "server", true: "client"}[client]
			wire := frames(Binary, payload, work.frame, !client)
			b.Run(fmt.Sprintf("%s/%s, whole", work.name, side), func(b *testing.B) {
				near, far := tcpPair(b)
				go pump(far, wire)
				c := New(near, nil, cfg)
				buf := make([]byte, 0, len(payload))
				b.SetBytes(int64(len(payload)))
				b.ReportAllocs()
				for b.Loop() {
					_, got, err := c.ReadMessage(buf)
					if err != nil || len(got) != len(payload) {
						b.Fatal(len(got), err)
					}
				}
			})
			b.Run(fmt.Sprintf("%s/%s, streamed", work.name, side), func(b *testing.B) {
				near, far := tcpPair(b)
				go pump(far, wire)
				c := New(near, nil, cfg)
				buf := make([]byte, len(payload))
				b.SetBytes(int64(len(payload)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := c.Next(); err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadFull(c, buf[:min(8, len(buf))]); err != nil {
						b.Fatal(err)
					}
					if _, err := io.ReadFull(c, buf[8:]); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, work := range workloads[1:] {
		payload, head := make([]byte, work.message), make([]byte, 8)
		b.Run(work.name+"/raw TCP", func(b *testing.B) {
			near, far := tcpPair(b)
			go drain(far)
			b.SetBytes(int64(len(payload)))
			for b.Loop() {
				if _, err := near.Write(payload); err != nil {
					b.Fatal(err)
				}
			}
		})
		for name, write := range map[string]func(c *Conn) error{
			"server":        func(c *Conn) error { return c.WriteMessage(Binary, head, payload) },
			"client":        func(c *Conn) error { return c.WriteMessage(Binary, head, payload) },
			"client, owned": func(c *Conn) error { return c.WriteOwned(Binary, head, payload) },
		} {
			b.Run(work.name+"/"+name, func(b *testing.B) {
				near, far := tcpPair(b)
				go drain(far)
				c := New(near, nil, Config{Client: name != "server"})
				b.SetBytes(int64(len(payload)))
				b.ReportAllocs()
				for b.Loop() {
					if err := write(c); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// drain reads all that comes and drops it, without splice's short cut.
func drain(c net.Conn) {
	buf := make([]byte, 256<<10)
	for {
		if _, err := c.Read(buf); err != nil {
			return
		}
	}
}

func BenchmarkMask(b *testing.B) {
	for _, size := range []int{16, 125, 4096, 65536} {
		src, dst := make([]byte, size), make([]byte, size)
		b.Run(fmt.Sprintf("copying %d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				applyMask(dst, src, 0x12345678)
			}
		})
		b.Run(fmt.Sprintf("in place %d", size), func(b *testing.B) {
			b.SetBytes(int64(size))
			for b.Loop() {
				applyMask(src, src, 0x12345678)
			}
		})
	}
}
