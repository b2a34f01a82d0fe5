package archive

import (
	"bytes"
	"compress/gzip"
	"testing"
)

// FuzzOpen has any header, and any chunks behind it, without the cost of making
// a key.
func FuzzOpen(f *testing.F) {
	for _, n := range []int{0, 10, chunkSize, chunkSize + 1} {
		file, _ := sealRaw(f, noise(n))
		f.Add(file)
	}
	f.Add(longAgo(f))
	f.Fuzz(func(t *testing.T, file []byte) {
		from := bytes.NewReader(file)
		h, err := readHeader(from)
		if err != nil {
			return
		}
		if !h.ok() || !bytes.HasPrefix(file, h.bytes()) {
			t.Fatalf("header %v of %q", h, file[:headerSize])
		}
		if _, err := open(from, h, make([]byte, 32)); err == nil {
			t.Error("opened with a key of zeros")
		}
	})
}

// FuzzLines has what could be inside: its writer knew the passphrase, which is
// no reason to trust him with the memory.
func FuzzLines(f *testing.F) {
	f.Add([]byte("no gzip"))
	for _, lines := range [][]string{nil, {""}, {"first", "second"}} {
		var b bytes.Buffer
		w := &Writer{compressed: gzip.NewWriter(&b), most: MaxLine}
		for _, line := range lines {
			if err := w.Line([]byte(line)); err != nil {
				f.Fatal(err)
			}
		}
		if err := w.compressed.Close(); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		r, err := newReader(bytes.NewReader(plain))
		for err == nil {
			var line []byte
			if line, err = r.Line(); len(line) > MaxLine || bytes.Contains(line, []byte("\n")) {
				t.Fatalf("a line of %d bytes", len(line))
			}
		}
	})
}
