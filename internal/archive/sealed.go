package archive

import (
	"bufio"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"io"

	"golang.org/x/crypto/chacha20poly1305"
)

// chunkSize is how much of the compressed lines is sealed at a time. All chunks
// but the last have that size, without their tag.
const chunkSize = 64 << 10

// chunks seals or opens one chunk after the other with XChaCha20-Poly1305, in the
// way of STREAM (Hoang, Reyhanitabar, Rogaway, Vizár: Online Authenticated-
// Encryption and its Nonce-Reuse Misuse-Resistance, 2015). The nonce is
//
//	prefix (15 bytes) | number of the chunk (8 bytes, big-endian) | 1 for the last chunk, else 0
//
// so that a chunk only opens in its place, and the last one only as the last.
type chunks struct {
	aead   cipher.AEAD
	header []byte
	nonce  [chacha20poly1305.NonceSizeX]byte
	number uint64
}

func newChunks(h *header, key []byte) (chunks, error) {
	aead, err := chacha20poly1305.NewX(key)
	c := chunks{aead: aead, header: h.bytes()}
	copy(c.nonce[:], h.prefix[:])
	return c, err
}

// at gives the nonce of the chunk whose turn it is.
func (c *chunks) at(last bool) []byte {
	binary.BigEndian.PutUint64(c.nonce[15:], c.number)
	c.nonce[23] = 0
	if last {
		c.nonce[23] = 1
	}
	return c.nonce[:]
}

// sealer seals what is written to it.
type sealer struct {
	chunks
	to    io.Writer
	plain []byte // not sealed yet: a full chunk waits for what tells that it is not the last
	box   []byte
}

func newSealer(to io.Writer, h *header, key []byte) (*sealer, error) {
	c, err := newChunks(h, key)
	return &sealer{chunks: c, to: to, plain: make([]byte, 0, chunkSize)}, err
}

func (s *sealer) Write(b []byte) (int, error) {
	n := len(b)
	for len(b) > 0 {
		if len(s.plain) == chunkSize {
			if err := s.seal(false); err != nil {
				return n - len(b), err
			}
		}
		fits := min(len(b), chunkSize-len(s.plain))
		s.plain, b = append(s.plain, b[:fits]...), b[fits:]
	}
	return n, nil
}

func (s *sealer) close() error { return s.seal(true) }

func (s *sealer) seal(last bool) error {
	s.box = s.aead.Seal(s.box[:0], s.at(last), s.plain, s.header)
	s.plain = s.plain[:0]
	s.number++
	_, err := s.to.Write(s.box)
	return err
}

// unsealer is read from.
type unsealer struct {
	chunks
	from *bufio.Reader
	box  []byte
	buf  []byte // what is opened into
	rest []byte // opened and not read yet
	last bool   // and nothing comes after it
	err  error  // that ended it
}

// newUnsealer opens the first chunk.
func newUnsealer(from io.Reader, h *header, key []byte) (*unsealer, error) {
	c, err := newChunks(h, key)
	if err != nil {
		return nil, err
	}
	u := &unsealer{chunks: c, from: bufio.NewReader(from), box: make([]byte, chunkSize+c.aead.Overhead())}
	return u, u.next()
}

func (u *unsealer) Read(b []byte) (int, error) {
	for len(u.rest) == 0 && u.err == nil {
		if u.last {
			u.err = io.EOF
		} else {
			u.err = u.next()
		}
	}
	if u.err != nil {
		return 0, u.err
	}
	n := copy(b, u.rest)
	u.rest = u.rest[n:]
	return n, nil
}

// next opens one chunk.
func (u *unsealer) next() error {
	box, last, err := u.read()
	if err != nil {
		return err
	}
	if u.buf, err = u.aead.Open(u.buf[:0], u.at(last), box, u.header); err == nil {
		u.rest, u.last = u.buf, last
		u.number++
		return nil
	}
	if _, err := u.aead.Open(nil, u.at(false), box, u.header); last && err == nil {
		return ErrTruncated // it is whole, and more came after it once
	}
	if u.number == 0 {
		return ErrPassphrase
	}
	return ErrDamaged
}

// read reads one chunk, as it is, and looks whether another one follows.
func (u *unsealer) read() (box []byte, last bool, err error) {
	n, err := io.ReadFull(u.from, u.box)
	if err == nil {
		_, err = u.from.Peek(1)
	} else if n == 0 && errors.Is(err, io.EOF) {
		return nil, false, ErrTruncated
	}
	last = errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
	if last {
		err = nil
	}
	return u.box[:n], last, err
}
