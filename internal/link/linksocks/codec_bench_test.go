package linksocks

import (
	"bytes"
	"testing"
)

func benchData(b testing.TB, proto Proto, size int) (Data, []byte) {
	b.Helper()
	m := Data{Proto: proto, Channel: id, Payload: bytes.Repeat([]byte("x"), size)}
	if proto == UDP {
		m.Target = Endpoint{Host: []byte("dns.lan"), Port: 53}
	}
	msg, err := m.Append(nil)
	if err != nil {
		b.Fatal(err)
	}
	return m, msg
}

func TestDataNeedsNoMemory(t *testing.T) { // not parallel: it counts allocations
	d, scratch := new(Decoder), make([]byte, 4<<10)
	for _, proto := range []Proto{TCP, UDP} {
		m, msg := benchData(t, proto, 1000)
		for name, f := range map[string]func() error{
			"decode":   func() error { _, err := d.Decode(msg); return err },
			"peek":     func() error { _, err := Peek(msg); return err },
			"envelope": func() error { _, _, err := m.Envelope(scratch); return err },
			"append":   func() error { _, err := m.Append(scratch[:0]); return err },
		} {
			var err error
			if n := testing.AllocsPerRun(100, func() { err = f() }); n != 0 || err != nil {
				t.Errorf("protocol %d: %s: %v allocations, %v", proto, name, n, err)
			}
		}
	}
}

func BenchmarkDecodeData(b *testing.B) {
	for name, proto := range map[string]Proto{"tcp": TCP, "udp": UDP} {
		b.Run(name, func(b *testing.B) {
			_, msg := benchData(b, proto, 1200)
			d := new(Decoder)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.Decode(msg); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkPeekData(b *testing.B) {
	_, msg := benchData(b, TCP, 1200)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Peek(msg); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeData(b *testing.B) {
	for name, proto := range map[string]Proto{"tcp": TCP, "udp": UDP} {
		b.Run(name, func(b *testing.B) {
			m, _ := benchData(b, proto, 1200)
			scratch := make([]byte, MaxEnvelope)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := m.Envelope(scratch); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkInflateData(b *testing.B) {
	msg := gzipped(deflated(b, 1<<20))
	d := new(Decoder)
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Decode(msg); err != nil {
			b.Fatal(err)
		}
	}
}
