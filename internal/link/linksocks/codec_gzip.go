package linksocks

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// maxRatio is how much more than its own length DEFLATE can unfold to: 258
// bytes for each two bits (RFC 1951, section 3.2.5).
const maxRatio = 1032

// An inflater is some 45 KB of tables and window. They are shared, since few
// links receive compressed payloads, and those only now and then.
type inflater struct {
	src  bytes.Reader
	gz   gzip.Reader
	next [1]byte
}

var inflaters = sync.Pool{New: func() any { return new(inflater) }}

// inflate gives what src unfolds to (RFC 1952, of one member or several), in
// memory of its own. The error wraps ErrGzip or, above limit bytes, ErrTooLarge.
func inflate(src []byte, limit int) ([]byte, error) {
	z := inflaters.Get().(*inflater)
	defer z.release()
	out := make([]byte, sizeHint(src, limit))
	more, err := z.fill(out, src)
	if err == nil && more && len(out) < limit {
		// Several members, or a lie: find out the size before taking memory.
		var size int
		if size, err = z.measure(src, limit); err == nil {
			out = make([]byte, size)
			more, err = z.fill(out, src)
		}
	}
	switch {
	case errors.Is(err, ErrTooLarge):
		return nil, err
	case err != nil:
		// Not wrapped: a payload's io.EOF must not pass for the link's.
		return nil, fmt.Errorf("%w: %v", ErrGzip, err)
	case more:
		return nil, tooLarge(limit)
	}
	return out, nil
}

func tooLarge(limit int) error {
	return fmt.Errorf("%w: payload inflates to more than %d bytes", ErrTooLarge, limit)
}

// sizeHint reads what the last member says of its size, which is the whole size
// when there is but one member and nobody lies. It is at most limit, and no
// more than src can hold: few bytes do not get much memory.
func sizeHint(src []byte, limit int) int {
	if len(src) < 4 {
		return 0
	}
	size := uint64(binary.LittleEndian.Uint32(src[len(src)-4:]))
	return int(min(size, uint64(limit), uint64(len(src))*maxRatio))
}

// fill inflates src into out, which must get full. more says that there is more.
func (z *inflater) fill(out, src []byte) (more bool, err error) {
	if err := z.start(src); err != nil {
		return false, err
	}
	if _, err := io.ReadFull(&z.gz, out); err != nil {
		return false, err
	}
	// The end is read too: the checksum stands there.
	switch _, err := io.ReadFull(&z.gz, z.next[:]); err {
	case nil:
		return true, nil
	case io.EOF:
		return false, nil
	default:
		return false, err
	}
}

// measure inflates src to nowhere.
func (z *inflater) measure(src []byte, limit int) (int, error) {
	if err := z.start(src); err != nil {
		return 0, err
	}
	n, err := io.Copy(io.Discard, io.LimitReader(&z.gz, int64(limit)+1))
	if err != nil {
		return 0, err
	}
	if n > int64(limit) {
		return 0, tooLarge(limit)
	}
	return int(n), nil
}

func (z *inflater) start(src []byte) error {
	z.src.Reset(src)
	return z.gz.Reset(&z.src)
}

// release gives z back without what belongs to the message.
func (z *inflater) release() {
	z.src.Reset(nil)
	z.gz.Header = gzip.Header{}
	inflaters.Put(z)
}
