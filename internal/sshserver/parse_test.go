package sshserver

import (
	"bytes"
	"slices"
	"testing"

	"golang.org/x/crypto/ssh"
)

// hello is the first bytes of a client: its version and its KEXINIT.
func hello(lists ...string) []byte {
	payload := append([]byte{msgKexInit}, make([]byte, kexInitPrefix-1)...)
	for _, list := range lists {
		payload = append(payload, ssh.Marshal(struct{ List string }{list})...)
	}
	head := ssh.Marshal(struct{ Size uint32 }{uint32(len(payload) + 1)})
	return slices.Concat([]byte("SSH-2.0-test\r\n"), head, []byte{0}, payload)
}

func TestKexSnifferFindsTheListInAnyPieces(t *testing.T) {
	t.Parallel()
	whole := append(hello("kex-a,kex-b", "key-a,key-b", "cipher"), "more"...)
	for size := 1; size <= len(whole); size++ {
		var sniffer kexSniffer
		var found []string
		for piece := range slices.Chunk(whole, size) {
			if asked := sniffer.feed(piece); asked != nil {
				if found != nil {
					t.Fatalf("pieces of %d: found twice", size)
				}
				found = asked
			}
		}
		if !slices.Equal(found, []string{"key-a", "key-b"}) {
			t.Fatalf("pieces of %d: found %v", size, found)
		}
	}
}

func TestKexSnifferKeepsNoMoreThanAPacket(t *testing.T) {
	t.Parallel()
	for name, text := range map[string][]byte{
		"no line end": bytes.Repeat([]byte("a"), 1<<20),
		"huge packet": append([]byte("SSH-2.0-test\n\xff\xff\xff\xff"), make([]byte, 1<<20)...),
	} {
		var sniffer kexSniffer
		for piece := range slices.Chunk(text, 1000) {
			sniffer.feed(piece)
		}
		if len(sniffer.seen) > maxVersion+maxPacket {
			t.Errorf("%s: keeps %d bytes", name, len(sniffer.seen))
		}
	}
}

func FuzzKexSniffer(f *testing.F) {
	f.Add(hello("a", "b,c"), 3)
	f.Add(hello("a"), 100)
	f.Add([]byte("SSH-2.0-x\n\x00\x00\x00\x05\x00\x14"), 1)
	f.Fuzz(func(t *testing.T, text []byte, size int) {
		if size < 1 {
			return
		}
		var sniffer kexSniffer
		for piece := range slices.Chunk(text, size) {
			sniffer.feed(piece)
			if limit := maxVersion + 5 + maxPacket + len(piece); len(sniffer.seen) > limit {
				t.Fatalf("keeps %d bytes", len(sniffer.seen))
			}
		}
	})
}

func FuzzParsePayloads(f *testing.F) {
	f.Add(ssh.Marshal(channelOpen{"127.0.0.1", 80, "127.0.0.1", 1234}))
	f.Add(ssh.Marshal(forwardRequest{"", 0}))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, payload []byte) {
		if d, err := parseDirect(payload); err == nil {
			if d.Host == "" || len(d.Host) > maxHost || d.Port == 0 || d.Port > 65535 {
				t.Errorf("takes %+v", d)
			}
			if !bytes.Equal(ssh.Marshal(d), payload) {
				t.Errorf("%+v is not what %x says", d, payload)
			}
		}
		if r, err := parseForward(payload); err == nil {
			if len(r.Host) > maxHost || r.Port > 65535 {
				t.Errorf("takes %+v", r)
			}
			if !bytes.Equal(ssh.Marshal(r), payload) {
				t.Errorf("%+v is not what %x says", r, payload)
			}
		}
	})
}
