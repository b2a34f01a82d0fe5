package sshserver

import (
	"bytes"
	"encoding/binary"
	"strings"
)

const (
	maxVersion     = 255   // bytes of a version line (RFC 4253, section 4.2)
	maxPacket      = 35000 // bytes of a packet (RFC 4253, section 6.1)
	msgKexInit     = 20
	kexInitPrefix  = 17 // message number and cookie (RFC 4253, section 7.1)
	packetOverhead = 5  // packet length and padding length
)

// kexSniffer finds in the first bytes of a client, which are not encrypted yet,
// the host key algorithms that it asks for. The zero value is ready.
type kexSniffer struct {
	seen []byte
	over bool // found, or there is nothing to find
}

// feed takes the next bytes. It gives the algorithms once, when they are
// complete, and nil otherwise.
func (k *kexSniffer) feed(p []byte) []string {
	if k.over {
		return nil
	}
	k.seen = append(k.seen, p...)
	_, packet, ok := bytes.Cut(k.seen, []byte("\n"))
	switch {
	case !ok:
		k.over = len(k.seen) > maxVersion
		return nil
	case len(packet) < packetOverhead:
		return nil
	}
	size := binary.BigEndian.Uint32(packet)
	if size > maxPacket {
		k.over = true
		return nil
	}
	if uint32(len(packet)-4) < size {
		return nil
	}
	k.over = true
	k.seen = nil
	return hostKeyAlgorithms(packet[packetOverhead:])
}

// hostKeyAlgorithms gives the second name-list of a KEXINIT; nil if p is none.
func hostKeyAlgorithms(p []byte) []string {
	if len(p) < kexInitPrefix || p[0] != msgKexInit {
		return nil
	}
	_, rest, ok := cutString(p[kexInitPrefix:]) // the key exchange algorithms
	if !ok {
		return nil
	}
	names, _, ok := cutString(rest)
	if !ok {
		return nil
	}
	return strings.Split(string(names), ",")
}

// cutString takes a string (RFC 4251, section 5) from the head of p.
func cutString(p []byte) (s, rest []byte, ok bool) {
	if len(p) < 4 {
		return nil, nil, false
	}
	n := binary.BigEndian.Uint32(p)
	if uint64(n) > uint64(len(p)-4) {
		return nil, nil, false
	}
	return p[4 : 4+n], p[4+n:], true
}
