package policy

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// testInterfaces are the addresses of a host with a network of each family.
func testInterfaces() ([]net.Addr, error) {
	return []net.Addr{
		ipNet("127.0.0.1/8"), ipNet("::1/128"),
		ipNet("192.168.1.5/24"), ipNet("172.16.9.9/20"), ipNet("10.9.9.11/31"), ipNet("10.8.8.7/32"), ipNet("192.0.2.1/30"),
		ipNet("2001:db8:1::5/64"), ipNet("fe80::5/64"),
		&net.UnixAddr{Name: "no address"},
	}, nil
}

func ipNet(s string) *net.IPNet {
	ip, n, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	n.IP = ip
	return n
}

func TestOwnListenersAreDeniedOnEveryAddressOfThisHost(t *testing.T) {
	t.Parallel()
	tests := []struct{ allow, addr, why string }{
		{"", "127.0.0.1:3000", whySelf},
		{"", "127.0.0.1:8765", whySelf},
		{"", "127.0.0.1:3001", ""},
		{"", "127.8.9.1:3000", whySelf},
		{"", "[::ffff:127.0.0.1]:3000", whySelf},
		{"", "[::1]:3000", whySelf},
		{"", "0.0.0.0:3000", whySelf},
		{"", "[::]:3000", whySelf},
		{"", "192.168.1.5:3000", whySelf},
		{"", "192.168.1.6:3000", ""},
		{"", "[::ffff:192.168.1.5]:3000", whySelf},
		{"", "[2001:db8:1::5]:3000", whySelf},
		{"", "[2001:db8:1::6]:3000", ""},
		{"", "10.8.8.7:3000", whySelf},

		{"*", "127.0.0.1:3000", whySelf},
		{"*:3000", "127.0.0.1:3000", whySelf},
		{"localhost:3000", "127.0.0.1:3000", whySelf},
		{"127.0.0.1", "127.0.0.1:3000", whySelf},
		{"127.0.0.1:3000-3001", "127.0.0.1:3000", whySelf},
		{"127.0.0.0/8:3000", "127.0.0.1:3000", whySelf},
		{"127.0.0.1:3000", "127.0.0.1:3000", ""},
		{"127.0.0.1:3000", "127.0.0.2:3000", whySelf},
		{"127.0.0.1:3000", "0.0.0.0:3000", ""},
		{"127.0.0.1:3000", "[::]:3000", whySelf},
		{"127.0.0.1:3000", "127.0.0.1:8765", whySelf},
		{"192.168.1.5:3000", "192.168.1.5:3000", ""},
		{"127.0.0.1", "127.0.0.1:80", ""},
	}
	for _, tt := range tests {
		p := rules(t, tt.allow, "")
		p.DenySelf(3000)
		p.DenySelf(8765)
		addr := netip.MustParseAddrPort(tt.addr)
		what := "allow [" + tt.allow + "] " + tt.addr
		wantDecision(t, what, p.CheckHere("", addr), tt.why)
		wantDecision(t, what+" by name", p.CheckHere("localhost", addr), tt.why)
	}
}

func TestOwnListenersAreNoMatterElsewhere(t *testing.T) {
	t.Parallel()
	p := rules(t, "", "")
	p.DenySelf(3000)
	for _, host := range []string{"127.0.0.1", "192.168.1.5", "0.0.0.0", "localhost", "192.168.1.255"} {
		wantDecision(t, host, p.CheckThere(host, 3000), "")
	}
}

func TestOwnListenersAreDeniedToNarrowedPoliciesToo(t *testing.T) {
	t.Parallel()
	outer := rules(t, "", "")
	inner, err := outer.Narrow([]string{"127.0.0.1:3000", "127.0.0.1:3001"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	outer.DenySelf(3000)
	inner.DenySelf(3001)
	for _, addr := range []string{"127.0.0.1:3000", "127.0.0.1:3001"} {
		wantDecision(t, addr, inner.CheckHere("", netip.MustParseAddrPort(addr)), whySelf)
		wantDecision(t, addr, outer.CheckHere("", netip.MustParseAddrPort(addr)), whySelf)
	}
}

func TestBroadcastAddressesOfThisHostsNetworksAreDenied(t *testing.T) {
	t.Parallel()
	tests := []struct{ allow, addr, why string }{
		{"", "192.168.1.255:9", whyMulticast},
		{"", "[::ffff:192.168.1.255]:9", whyMulticast},
		{"", "192.168.2.255:9", ""},
		{"", "192.168.1.127:9", ""},
		{"", "172.16.15.255:9", whyMulticast},
		{"", "172.16.9.255:9", ""},
		{"", "10.9.9.11:9", ""},
		{"", "10.8.8.7:9", ""},
		{"", "192.0.2.3:9", whyMulticast},
		{"", "127.255.255.255:9", ""},
		{"192.168.1.0/24", "192.168.1.255:9", whyMulticast},
		{"192.168.1.255", "192.168.1.255:9", ""},
	}
	for _, tt := range tests {
		p := rules(t, tt.allow, "")
		wantDecision(t, "allow ["+tt.allow+"] "+tt.addr, p.CheckHere("", netip.MustParseAddrPort(tt.addr)), tt.why)
	}
}

func TestTheHostsAddressesAreAskedForAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := rules(t, "", "")
		p.DenySelf(3000)
		asked := 0
		var now []net.Addr
		var failure error
		p.self.interfaces = func() ([]net.Addr, error) { asked++; return now, failure }
		check := func(addr, why string) {
			t.Helper()
			wantDecision(t, addr, p.CheckHere("", netip.MustParseAddrPort(addr)), why)
		}

		// Not known: any address may be ours.
		failure = errors.New("no answer")
		check("192.0.2.7:3000", whySelf)
		check("192.0.2.7:3001", "")

		time.Sleep(selfAge)
		now, failure = []net.Addr{ipNet("192.0.2.7/24")}, nil
		check("192.0.2.7:3000", whySelf)
		check("192.0.2.8:3000", "")

		// A moved address is noticed, but not at each dial.
		now = []net.Addr{ipNet("192.0.2.8/24")}
		before := asked
		check("192.0.2.8:3000", "")
		if asked != before {
			t.Error("the addresses were asked for again at once")
		}
		time.Sleep(selfAge)
		check("192.0.2.8:3000", whySelf)
		check("192.0.2.7:3000", "")

		// No answer leaves the last one.
		time.Sleep(selfAge)
		failure = errors.New("no answer")
		check("192.0.2.8:3000", whySelf)
		check("192.0.2.7:3000", "")
	})
}

func TestThisHostsRealAddressesAreKnown(t *testing.T) {
	t.Parallel()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	p, err := New(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	p.DenySelf(3000)
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.(*net.IPNet).IP)
		if !ok || ip.Unmap().IsLinkLocalUnicast() {
			continue
		}
		wantDecision(t, ip.String(), p.CheckHere("", netip.AddrPortFrom(ip, 3000)), whySelf)
	}
}

func TestAPolicyIsAskedByManyAtOnce(t *testing.T) {
	t.Parallel()
	p := rules(t, "", "10.0.0.0/8")
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			p.DenySelf(3000)
			_ = p.CheckHere("", netip.MustParseAddrPort("192.168.1.5:3000"))
			_ = p.CheckHere("", netip.MustParseAddrPort("192.168.1.255:80"))
			_ = p.CheckThere("a.example", 80)
		})
	}
	wg.Wait()
}
