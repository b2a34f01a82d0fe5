package policy

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

func TestAHostIsTheAddressThatResolversTakeItFor(t *testing.T) {
	t.Parallel()
	addresses := map[string]string{
		"127.0.0.1": "127.0.0.1", "127.0.0.1.": "127.0.0.1",
		"127.1": "127.0.0.1", "127.0.1": "127.0.0.1", "127.1.": "127.0.0.1", "127.65537": "127.1.0.1", "127.1.513": "127.1.2.1",
		"2130706433": "127.0.0.1", "0x7f000001": "127.0.0.1", "0X7F000001": "127.0.0.1", "017700000001": "127.0.0.1",
		"0x7f.1": "127.0.0.1", "0177.1": "127.0.0.1", "0177.0.0.01": "127.0.0.1", "0x7F.0x0.0.0x1": "127.0.0.1",
		"00000177.1": "127.0.0.1", "0x000000007f.1": "127.0.0.1",
		"0": "0.0.0.0", "0x0": "0.0.0.0", "00": "0.0.0.0", "4294967295": "255.255.255.255",
		"0251.254.169.254": "169.254.169.254", "2852039166": "169.254.169.254", "169.254.43518": "169.254.169.254",
		"::1": "::1", "0:0:0:0:0:0:0:1": "::1", "::ffff:127.0.0.1": "127.0.0.1", "::FFFF:7f00:1": "127.0.0.1",
		"fe80::1%eth0": "fe80::1", "fe80::1%2": "fe80::1", "fe80::1%ETH0.1": "fe80::1", "::1.": "::1",
	}
	for host, want := range addresses {
		got, ok := parseHost(host, 80)
		if !ok || got != (target{addr: netip.MustParseAddr(want), port: 80}) {
			t.Errorf("%q is taken for %+v, %v; want %s", host, got, ok, want)
		}
	}
	names := map[string]string{
		"localhost": "localhost", "LOCALHOST.": "localhost", "a": "a", "a.1b": "a.1b", "1.2.3.4.example": "1.2.3.4.example",
		"0x7g": "0x7g", "1-2": "1-2", "127.0.0.1_": "127.0.0.1_", "0xa.example": "0xa.example", "x": "x", "cafe": "cafe",
	}
	for host, want := range names {
		got, ok := parseHost(host, 80)
		if !ok || got != (target{name: want, port: 80}) {
			t.Errorf("%q is taken for %+v, %v; want the name %s", host, got, ok, want)
		}
	}
	for _, host := range []string{
		"", ".", "..", "a..", "a..b", ".a", "localhost..", "127.0.0.1..", "127..1",
		"1.2.3.4.5", "256.1", "127.16777216", "1.2.65536", "1.2.3.256", "4294967296", "0x100000000", "08", "0x", "127.0x", "127.0.0.09",
		"a.1", "example.0x7f", "99999999999999999999",
		"127.0.0.1 ", " 127.0.0.1", "127.0.0.1 a", "127.0.0.1\x00", "127.0.0.1\n", "a\tb", "127.0.0.1%lo", "127.0.0.1:80", "127.0.0.1/8",
		"[::1]", "::1%", "::1%\n", "::1%a b", "::ffff:127.1", ":::", "a:b", "１２７.0.0.1", "127。0。0。1", "bücher", "\xff", "*", "*.a",
	} {
		if got, ok := parseHost(host, 80); ok {
			t.Errorf("%q is taken for %+v", host, got)
		}
	}
}

func FuzzParseHost(f *testing.F) {
	f.Add("127.1", uint32(0x7f000001))
	f.Fuzz(func(t *testing.T, host string, number uint32) {
		if got, ok := parseHost(host, 1); ok {
			if (got.name == "") != got.addr.IsValid() || got.addr.Is4In6() || got.addr.Zone() != "" {
				t.Errorf("%q is taken for %+v", host, got)
			}
			last := got.name[strings.LastIndexByte(got.name, '.')+1:]
			if got.name != "" && strings.Trim(last, "0123456789") == "" {
				t.Errorf("the name %q ends in a number", got.name)
			}
		}
		// However an address is spelt, it is recognised.
		a, b, c, d := number>>24, number>>16&255, number>>8&255, number&255
		want := netip.AddrFrom4([4]byte{byte(a), byte(b), byte(c), byte(d)})
		for _, format := range []string{"%d", "0%o", "%#x", "%#X", "00%o", "0x00%x"} {
			for _, parts := range [][]any{{number}, {a, number & 0xffffff}, {a, b, number & 0xffff}, {a, b, c, d}} {
				text := fmt.Sprintf(strings.TrimSuffix(strings.Repeat(format+".", len(parts)), "."), parts...)
				if got, ok := parseHost(text, 1); !ok || got.addr != want {
					t.Errorf("%q is taken for %+v, %v; want %v", text, got, ok, want)
				}
			}
		}
	})
}
