package ws

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
)

// applyMask puts src, masked or unmasked with the key (section 5.3), into dst
// and returns the key for the byte that follows. dst is as long as src, and
// is either the same memory or apart from it.
//
// Eight words a turn keep up with a copy: 15 GB/s and more, against the one or
// two that a socket gives.
func applyMask(dst, src []byte, key uint32) uint32 {
	word := uint64(key)<<32 | uint64(key)
	next := bits.RotateLeft32(key, -8*(len(src)&3))
	dst = dst[:len(src)]
	for len(src) >= 64 {
		s, d := src[:64:64], dst[:64:64]
		binary.LittleEndian.PutUint64(d[0:], binary.LittleEndian.Uint64(s[0:])^word)
		binary.LittleEndian.PutUint64(d[8:], binary.LittleEndian.Uint64(s[8:])^word)
		binary.LittleEndian.PutUint64(d[16:], binary.LittleEndian.Uint64(s[16:])^word)
		binary.LittleEndian.PutUint64(d[24:], binary.LittleEndian.Uint64(s[24:])^word)
		binary.LittleEndian.PutUint64(d[32:], binary.LittleEndian.Uint64(s[32:])^word)
		binary.LittleEndian.PutUint64(d[40:], binary.LittleEndian.Uint64(s[40:])^word)
		binary.LittleEndian.PutUint64(d[48:], binary.LittleEndian.Uint64(s[48:])^word)
		binary.LittleEndian.PutUint64(d[56:], binary.LittleEndian.Uint64(s[56:])^word)
		src, dst = src[64:], dst[64:]
	}
	for len(src) >= 8 {
		binary.LittleEndian.PutUint64(dst, binary.LittleEndian.Uint64(src)^word)
		src, dst = src[8:], dst[8:]
	}
	for i := range src {
		dst[i] = src[i] ^ byte(word>>(8*i))
	}
	return next
}

// keySource gives masking keys that nobody can foresee (sections 5.3 and 10.3),
// many for one call to the system.
type keySource struct {
	bytes [128]byte
	left  int
}

func (k *keySource) next() uint32 {
	if k.left == 0 {
		rand.Read(k.bytes[:]) // never returns an error
		k.left = len(k.bytes)
	}
	k.left -= 4
	return binary.LittleEndian.Uint32(k.bytes[k.left:])
}
