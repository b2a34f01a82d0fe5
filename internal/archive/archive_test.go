package archive

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/internal/redact"
)

var passphrase = redact.New("open sesame")

// cheap is the least that a reader takes.
var cheap = Costs{Memory: 10, Passes: 1, Lanes: 1}

const headerSize = len(magic) + 3 + 16 + 15

func sealLines(t testing.TB, lines ...string) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := Create(&file, passphrase, cheap)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range lines {
		if err := w.Line([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// sealRaw seals bytes as they are, uncompressed.
func sealRaw(t testing.TB, plain []byte) (file []byte, key []byte) {
	t.Helper()
	h := newHeader(cheap)
	b := bytes.NewBuffer(h.bytes())
	key = h.key(passphrase)
	s, err := newSealer(b, h, key)
	if err == nil {
		_, err = s.Write(plain)
	}
	if err == nil {
		err = s.close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes(), key
}

// longAgo is an archive of the lines "first" and "second" as it was once written.
func longAgo(t testing.TB) []byte {
	t.Helper()
	file, err := os.ReadFile("testdata/first-second.adit")
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func readLines(from io.Reader, passphrase redact.Secret) (lines []string, err error) {
	r, err := Open(from, passphrase)
	if err != nil {
		return nil, err
	}
	for {
		line, err := r.Line()
		if errors.Is(err, io.EOF) {
			return lines, nil
		}
		if err != nil {
			return lines, err
		}
		lines = append(lines, string(line))
	}
}

func openRaw(file, key []byte) ([]byte, error) {
	from := bytes.NewReader(file)
	h, err := readHeader(from)
	if err != nil {
		return nil, err
	}
	u, err := newUnsealer(from, h, key)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(u)
}

// noise does not compress, and is always the same.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b)
	return b
}

func TestWhatWasWrittenIsRead(t *testing.T) {
	t.Parallel()
	for name, lines := range map[string][]string{
		"nothing": nil, "one": {"a"}, "empty lines": {"", "", ""}, "some": {"a", "", "文字", strings.Repeat("x", 200<<10)},
		"a few chunks": {fmt.Sprintf("%x", noise(5*chunkSize)), "end"},
	} {
		got, err := readLines(bytes.NewReader(sealLines(t, lines...)), passphrase)
		if err != nil || fmt.Sprintf("%q", got) != fmt.Sprintf("%q", lines) {
			t.Errorf("%s: %d lines, %v", name, len(got), err)
		}
	}
}

func TestTheUsualCostsAreTaken(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	w, err := Create(&file, passphrase, Costs{})
	if err == nil {
		err = errors.Join(w.Line([]byte("line")), w.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readLines(&file, passphrase); err != nil || len(got) != 1 || got[0] != "line" {
		t.Errorf("%q, %v", got, err)
	}
}

// What was written once is read for ever.
func TestAnArchiveOfLongAgoIsRead(t *testing.T) {
	t.Parallel()
	if got, err := readLines(bytes.NewReader(longAgo(t)), passphrase); err != nil || len(got) != 2 || got[0] != "first" || got[1] != "second" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestNothingOfALineCanBeSeen(t *testing.T) {
	t.Parallel()
	a, b := sealLines(t, "a secret line"), sealLines(t, "a secret line")
	if bytes.Contains(a, []byte("secret")) || bytes.Contains(a, []byte(passphrase.Reveal())) {
		t.Error("it stands in the archive")
	}
	if bytes.Equal(a[len(magic)+3:], b[len(magic)+3:]) {
		t.Error("a salt was used twice")
	}
}

func TestAnotherPassphraseIsTold(t *testing.T) {
	t.Parallel()
	file := sealLines(t, "a")
	for _, wrong := range []string{"", "open sesam", "open sesame ", "Open sesame"} {
		if got, err := readLines(bytes.NewReader(file), redact.New(wrong)); !errors.Is(err, ErrPassphrase) || got != nil {
			t.Errorf("%q: %q, %v", wrong, got, err)
		}
	}
}

// Around the ends of chunks, too, where the last one is full or has one byte.
func TestEveryLengthComesBack(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 2 * chunkSize, 2*chunkSize + 1} {
		plain := noise(n)
		file, key := sealRaw(t, plain)
		if want := headerSize + n + 16*max(1, (n+chunkSize-1)/chunkSize); len(file) != want {
			t.Errorf("%d bytes: %d sealed, want %d", n, len(file), want)
		}
		if got, err := openRaw(file, key); err != nil || !bytes.Equal(got, plain) {
			t.Errorf("%d bytes: %d back, %v", n, len(got), err)
		}
	}
}

func TestAnArchiveThatWasCutOffIsTold(t *testing.T) {
	t.Parallel()
	plain := noise(3*chunkSize + 100)
	file, key := sealRaw(t, plain)
	for i := range 4 { // at the end of a chunk
		at := headerSize + i*(chunkSize+16)
		if got, err := openRaw(file[:at], key); !errors.Is(err, ErrTruncated) || !bytes.HasPrefix(plain, got) {
			t.Errorf("after %d chunks: %v", i, err)
		}
		for _, off := range []int{at + 1, at + 16, at + 17, at + 60} { // within one
			want := ErrDamaged
			if i == 0 {
				want = ErrPassphrase
			}
			if got, err := openRaw(file[:off], key); !errors.Is(err, want) || !bytes.HasPrefix(plain, got) {
				t.Errorf("at %d: %v, want %v", off, err, want)
			}
		}
	}
	for n := 1; n < headerSize; n++ {
		if _, err := openRaw(file[:n], key); !errors.Is(err, ErrTruncated) {
			t.Errorf("%d bytes of the header: %v", n, err)
		}
	}
	if _, err := openRaw(nil, key); !errors.Is(err, ErrFormat) {
		t.Errorf("nothing: %v", err)
	}
}

func TestEveryChangedByteOfAnArchiveIsNoticed(t *testing.T) {
	t.Parallel()
	file := sealLines(t, "first", "second")
	for i := range file {
		for _, flip := range []byte{0x01, 0x80} {
			changed := bytes.Clone(file)
			changed[i] ^= flip
			_, err := readLines(bytes.NewReader(changed), passphrase)
			ours := false
			for _, known := range []error{ErrFormat, ErrNewer, ErrPassphrase, ErrDamaged} {
				ours = ours || errors.Is(err, known)
			}
			if !ours {
				t.Errorf("byte %d: %v", i, err)
			}
		}
	}
	for name, more := range map[string][]byte{"a byte": {0}, "itself": file, "a chunk": file[headerSize:]} {
		if _, err := readLines(bytes.NewReader(append(bytes.Clone(file), more...)), passphrase); !errors.Is(err, ErrPassphrase) {
			t.Errorf("with %s after it: %v", name, err)
		}
	}
}

func TestChunksOnlyOpenInTheirPlace(t *testing.T) {
	t.Parallel()
	file, key := sealRaw(t, noise(4*chunkSize))
	head, chunk := file[:headerSize], func(i int) []byte { return file[headerSize+i*(chunkSize+16):][:chunkSize+16] }
	put := func(order ...int) []byte {
		b := bytes.Clone(head)
		for _, i := range order {
			b = append(b, chunk(i)...)
		}
		return b
	}
	for name, tt := range map[string]struct {
		file []byte
		want error
	}{
		"as they were":          {put(0, 1, 2, 3), nil},
		"the first is missing":  {put(1, 2, 3), ErrPassphrase},
		"one is missing":        {put(0, 2, 3), ErrDamaged},
		"two have changed":      {put(0, 2, 1, 3), ErrDamaged},
		"one is there twice":    {put(0, 1, 1, 2, 3), ErrDamaged},
		"the last too early":    {put(0, 1, 3, 2), ErrDamaged},
		"the last is missing":   {put(0, 1, 2), ErrTruncated},
		"one more after it all": {put(0, 1, 2, 3, 3), ErrDamaged},
	} {
		if _, err := openRaw(tt.file, key); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
	other, _ := sealRaw(t, noise(4*chunkSize))
	if _, err := openRaw(append(bytes.Clone(other[:headerSize]), file[headerSize:]...), key); !errors.Is(err, ErrPassphrase) {
		t.Errorf("another's header: %v", err)
	}
}

func TestAFileMayNotAskForMoreThanAPassphraseIsWorth(t *testing.T) {
	t.Parallel()
	for _, c := range []Costs{{9, 1, 1}, {19, 1, 1}, {255, 1, 1}, {10, 0, 1}, {10, 17, 1}, {10, 1, 0}, {10, 1, 17}, {}} {
		if _, err := Create(io.Discard, passphrase, c); err == nil && c != (Costs{}) {
			t.Errorf("%v: written", c)
		}
		if _, err := Open(bytes.NewReader(newHeader(c).bytes()), passphrase); !errors.Is(err, ErrDamaged) {
			t.Errorf("%v: %v", c, err)
		}
	}
}

func TestOtherFilesAreNoArchives(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]error{
		"": ErrFormat, "x": ErrFormat, "SQLite format 3\x00 and so on": ErrFormat, "adit archive 2\n": ErrNewer, "adit archive 10": ErrNewer,
		"adit": ErrTruncated, magic: ErrTruncated,
	} {
		if _, err := Open(strings.NewReader(text), passphrase); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
}

func TestLinesAreBounded(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]error{1000: nil, 1001: ErrTooLong, 1 << 20: ErrTooLong} {
		var compressed bytes.Buffer
		w := &Writer{compressed: gzip.NewWriter(&compressed), most: 1000}
		long := bytes.Repeat([]byte("x"), n)
		if err := w.Line(long); !errors.Is(err, want) {
			t.Errorf("%d bytes written: %v", n, err)
		}
		w.most = n
		if err := errors.Join(w.Line(long), w.compressed.Close()); err != nil {
			t.Fatal(err)
		}
		r, err := newReader(&compressed)
		if err != nil {
			t.Fatal(err)
		}
		r.most = 1000
		if line, err := r.Line(); !errors.Is(err, want) || cap(r.line) > 10000 || err == nil && len(line) != n {
			t.Errorf("%d bytes read: %d, %v, kept in %d", n, len(line), err, cap(r.line))
		}
	}
}

func TestALastLineWithoutItsEndIsDamage(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	w, err := Create(&file, passphrase, cheap)
	if err == nil {
		_, err = w.compressed.Write([]byte("whole\nhalf"))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	if got, err := readLines(&file, passphrase); !errors.Is(err, ErrDamaged) || len(got) != 1 {
		t.Errorf("%q, %v", got, err)
	}
	for _, plain := range []string{"", "no gzip", "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff\xff\xff"} {
		raw, _ := sealRaw(t, []byte(plain))
		if got, err := readLines(bytes.NewReader(raw), passphrase); !errors.Is(err, ErrDamaged) {
			t.Errorf("%q in it: %q, %v", plain, got, err)
		}
	}
}

// failing fails after some bytes, as a disk does.
type failing struct {
	from io.Reader
	err  error
}

func (f failing) Read(b []byte) (int, error) {
	n, err := f.from.Read(b)
	if errors.Is(err, io.EOF) {
		err = f.err
	}
	return n, err
}

func TestAnErrorOfReadingIsNoDamage(t *testing.T) {
	t.Parallel()
	file, broken := sealLines(t, fmt.Sprintf("%x", noise(3*chunkSize))), errors.New("input/output error")
	for _, n := range []int{0, 3, len(magic), headerSize, headerSize + 5, headerSize + chunkSize + 16, headerSize + chunkSize + 20, len(file)} {
		if _, err := readLines(failing{bytes.NewReader(file[:n]), broken}, passphrase); !errors.Is(err, broken) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}
