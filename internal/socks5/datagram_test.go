package socks5

import (
	"bytes"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestParseDatagramReadsTheTargetAndThePayload(t *testing.T) {
	t.Parallel()
	v6 := []byte{0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}
	for name, c := range map[string]struct {
		in   []byte
		want Datagram
	}{
		"IPv4":         {join(0, 0, 0, 1, 192, 0, 2, 7, 0, 53, "ask"), Datagram{"192.0.2.7", 53, []byte("ask")}},
		"IPv6":         {join(0, 0, 0, 4, v6, 0, 53, "ask"), Datagram{"2001:db8::1", 53, []byte("ask")}},
		"name":         {join(0, 0, 0, 3, 8, "Db_1.LAN", 0, 53, "ask"), Datagram{"Db_1.LAN", 53, []byte("ask")}},
		"IPv4 as name": {join(0, 0, 0, 3, 9, "127.0.0.1", 0, 53, "ask"), Datagram{"127.0.0.1", 53, []byte("ask")}},
		"longest name": {join(0, 0, 0, 3, 255, strings.Repeat("a", 255), 0, 53), Datagram{strings.Repeat("a", 255), 53, []byte{}}},
		"nothing":      {join(0, 0, 0, 1, 192, 0, 2, 7, 0, 0), Datagram{"192.0.2.7", 0, []byte{}}},
		"RSV set":      {join(1, 2, 0, 1, 192, 0, 2, 7, 0, 53, "ask"), Datagram{"192.0.2.7", 53, []byte("ask")}},
	} {
		if got, err := ParseDatagram(c.in); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, %v; want %+v", name, got, err, c.want)
		}
	}
}

func TestParseDatagramRefusesWhatIsNone(t *testing.T) {
	t.Parallel()
	v4 := join(0, 0, 0, 1, 192, 0, 2, 7, 0, 53)
	v6 := join(0, 0, 0, 4, make([]byte, 16), 0, 53)
	name := join(0, 0, 0, 3, 8, "Db_1.LAN", 0, 53)
	for _, whole := range [][]byte{v4, v6, name} {
		for n := range whole {
			if d, err := ParseDatagram(whole[:n:n]); !errors.Is(err, ErrShort) || !reflect.DeepEqual(d, Datagram{}) {
				t.Errorf("% x: %+v, %v", whole[:n], d, err)
			}
		}
	}
	for name, c := range map[string]struct {
		in   []byte
		want error
	}{
		"first fragment":      {join(0, 0, 1, v4[3:]), ErrFragment},
		"last fragment":       {join(0, 0, 0x81, v4[3:]), ErrFragment},
		"fragment of nothing": {join(0, 0, 1), ErrFragment},
		"type 0":              {join(0, 0, 0, 0, 192, 0, 2, 7, 0, 53), ErrAddressType},
		"empty name":          {join(0, 0, 0, 3, 0, 0, 53), ErrName},
		"no name":             {join(0, 0, 0, 3, 3, "a b", 0, 53), ErrName},
	} {
		if d, err := ParseDatagram(c.in); !errors.Is(err, c.want) || !reflect.DeepEqual(d, Datagram{}) {
			t.Errorf("%s: %+v, %v; want %v", name, d, err, c.want)
		}
	}
}

func TestAppendDatagramHeaderTellsTheSource(t *testing.T) {
	t.Parallel()
	v6 := join(0, 0, 0, 4, 0xfe, 0x80, make([]byte, 13), 1, 0, 53)
	for source, want := range map[string][]byte{
		"192.0.2.7:53":          {0, 0, 0, 1, 192, 0, 2, 7, 0, 53},
		"[::ffff:192.0.2.7]:53": {0, 0, 0, 1, 192, 0, 2, 7, 0, 53},
		"[fe80::1%eth0]:53":     v6,
	} {
		got := AppendDatagramHeader([]byte("before"), netip.MustParseAddrPort(source))
		if !bytes.Equal(got, join("before", want)) || len(want) > maxDatagramHeader {
			t.Errorf("%s: wrote % x, want % x behind what was there", source, got, want)
		}
	}
	if got := AppendDatagramHeader(nil, netip.AddrPort{}); !bytes.Equal(got, join(0, 0, 0, 1, 0, 0, 0, 0, 0, 0)) {
		t.Errorf("no source: wrote % x", got)
	}
}

func FuzzParseDatagram(f *testing.F) {
	f.Add(join(0, 0, 0, 1, 192, 0, 2, 7, 0, 53, "ask"))
	f.Add(join(0, 0, 0, 3, 11, "example.com", 0, 53, "ask"))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDatagram(b)
		if err != nil {
			if !reflect.DeepEqual(d, Datagram{}) {
				t.Errorf("%+v came with the error %v", d, err)
			}
			return
		}
		if b[2] != 0 {
			t.Error("a fragment is taken")
		}
		if d.Host == "" || len(d.Host) > 255 || strings.ContainsAny(d.Host, "\x00\r\n\t []/") {
			t.Errorf("host is %q", d.Host)
		}
		if head := len(b) - len(d.Payload); head < 3+5 || !bytes.Equal(b[head:], d.Payload) {
			t.Errorf("%d bytes of header, % x behind it, of % x", head, d.Payload, b)
		}
		ip, err := netip.ParseAddr(d.Host)
		if err != nil {
			return
		}
		from := netip.AddrPortFrom(ip.WithZone("").Unmap(), d.Port)
		again, err := ParseDatagram(append(AppendDatagramHeader(nil, from), d.Payload...))
		if err != nil || again.Host != from.Addr().String() || again.Port != d.Port || !bytes.Equal(again.Payload, d.Payload) {
			t.Errorf("%+v is written so that it reads %+v, %v", d, again, err)
		}
	})
}
