// Package archive is the file that `adit export` writes and `adit import` reads:
// lines of text, compressed and sealed with a passphrase. It knows neither what
// the lines say nor where they come from.
//
// The file is a header, see header, and then the compressed lines in chunks, see
// sealer. A reader is given nothing that was not authenticated, and the end only
// when it is the end that was written: a file that was cut off, put together
// anew or changed is an error.
package archive

import (
	"bufio"
	"compress/flate"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/adit-tunnel/adit/internal/redact"
)

// MaxLine is the longest line, in bytes without its end. A row of the database
// comes from a request of 8 MiB at most, and may double in JSON.
const MaxLine = 32 << 20

var (
	// ErrFormat is a file that is no archive.
	ErrFormat = errors.New("it is no archive of adit's")
	// ErrNewer is an archive that this program cannot read.
	ErrNewer = errors.New("it is an archive of a newer adit")
	// ErrPassphrase is an archive whose beginning cannot be opened.
	ErrPassphrase = errors.New("wrong passphrase, or the archive is damaged")
	// ErrDamaged is an archive that the passphrase fits, and that is not as it
	// was written.
	ErrDamaged = errors.New("the archive is damaged")
	// ErrTruncated is an archive that ends too early.
	ErrTruncated = errors.New("the archive is cut off: its end is missing")
	// ErrTooLong is a line of more than MaxLine bytes.
	ErrTooLong = fmt.Errorf("a line of more than %d bytes", MaxLine)
)

// Writer writes an archive. After an error it is of no use.
type Writer struct {
	sealed     *sealer
	compressed *gzip.Writer
	most       int // bytes of a line
}

// Create begins an archive. Close must follow, or it has no end.
func Create(to io.Writer, passphrase redact.Secret, c Costs) (*Writer, error) {
	if c == (Costs{}) {
		c = usualCosts
	}
	if !c.ok() {
		return nil, fmt.Errorf("costs %+v are out of bounds", c)
	}
	h := newHeader(c)
	if _, err := to.Write(h.bytes()); err != nil {
		return nil, err
	}
	sealed, err := newSealer(to, h, h.key(passphrase))
	if err != nil {
		return nil, err
	}
	return &Writer{sealed: sealed, compressed: gzip.NewWriter(sealed), most: MaxLine}, nil
}

// Line adds one line, which has no line feed in it.
func (w *Writer) Line(line []byte) error {
	if len(line) > w.most {
		return ErrTooLong
	}
	if _, err := w.compressed.Write(line); err != nil {
		return err
	}
	_, err := w.compressed.Write([]byte{'\n'})
	return err
}

// Close ends the archive. It does not close what is written to.
func (w *Writer) Close() error {
	if err := w.compressed.Close(); err != nil {
		return err
	}
	return w.sealed.close()
}

// Reader reads an archive. What it keeps in memory is one line and some buffers,
// whatever the archive says.
type Reader struct {
	lines *bufio.Reader
	line  []byte
	most  int // bytes of it
}

// Open begins to read an archive. When it returns, the passphrase has proved to
// be the right one.
func Open(from io.Reader, passphrase redact.Secret) (*Reader, error) {
	h, err := readHeader(from)
	if err != nil {
		return nil, err
	}
	return open(from, h, h.key(passphrase))
}

func open(from io.Reader, h *header, key []byte) (*Reader, error) {
	sealed, err := newUnsealer(from, h, key)
	if err != nil {
		return nil, err
	}
	return newReader(sealed)
}

// newReader reads compressed lines.
func newReader(from io.Reader) (*Reader, error) {
	compressed, err := gzip.NewReader(from)
	if err != nil {
		return nil, damaged(err)
	}
	return &Reader{lines: bufio.NewReader(compressed), most: MaxLine}, nil
}

// Line gives the next line, until the next call, and io.EOF when the archive
// ended as it was written.
func (r *Reader) Line() ([]byte, error) {
	r.line = r.line[:0]
	for {
		part, err := r.lines.ReadSlice('\n')
		r.line = append(r.line, part...)
		switch {
		case len(r.line) > r.most+1: // with its end
			return nil, ErrTooLong
		case err == nil:
			return r.line[:len(r.line)-1], nil
		case errors.Is(err, io.EOF) && len(r.line) == 0:
			return nil, io.EOF
		case errors.Is(err, io.EOF):
			return nil, fmt.Errorf("%w: its last line has no end", ErrDamaged)
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, damaged(err)
		}
	}
}

// damaged names what the decompression met. What it was given is what was
// sealed: if that is not compressed, nobody but its writer is to blame.
func damaged(err error) error {
	_, corrupt := errors.AsType[flate.CorruptInputError](err)
	if corrupt || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, gzip.ErrHeader) || errors.Is(err, gzip.ErrChecksum) {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return err
}
