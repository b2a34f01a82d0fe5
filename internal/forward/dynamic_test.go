package forward

import (
	"io"
	"net"
	"testing"

	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

// socks speaks to a tunnel as a SOCKS5 client: it sends what it is told and
// wants these bytes back.
func socks(t *testing.T, port int, exchange ...[]byte) *net.TCPConn {
	t.Helper()
	c := dial(t, port)
	for i := 0; i < len(exchange); i += 2 {
		if _, err := c.Write(exchange[i]); err != nil {
			t.Fatal(err)
		}
		want := exchange[i+1]
		got := make([]byte, len(want))
		if n, err := io.ReadFull(c, got); err != nil || string(got) != string(want) {
			t.Fatalf("step %d: got %x (%d, %v), want %x", i/2, got, n, err, want)
		}
	}
	return c
}

var (
	hello    = []byte{5, 1, 0}
	accepted = []byte{5, 0}
)

// request is a SOCKS5 request for a name or address that is told as a name.
func request(t *testing.T, command byte, address string) []byte {
	t.Helper()
	host, port, err := splitPort(address)
	if err != nil {
		t.Fatal(err)
	}
	b := append([]byte{5, command, 0, 3, byte(len(host))}, host...)
	return append(b, byte(port>>8), byte(port))
}

func reply(code byte) []byte { return []byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0} }

func TestADynamicTunnelDialsWhatTheClientAsksFor(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	st := f.mustStart(f.spec(Dynamic, ""))
	to := target.Start(t)
	_, port, err := splitPort(to)
	if err != nil {
		t.Fatal(err)
	}
	v4 := []byte{5, 1, 0, 1, 127, 0, 0, 1, byte(port >> 8), byte(port)}
	for name, req := range map[string][]byte{"name": request(t, 1, net.JoinHostPort("localhost", to[len("127.0.0.1:"):])), "IPv4": v4} {
		c := socks(t, st.BoundPort, hello, accepted, req, reply(0))
		if err := target.HalfClose(c, 1<<20); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestADynamicTunnelRepliesWithTheTrueReason(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	st := f.mustStart(f.spec(Dynamic, ""))
	socks(t, st.BoundPort, hello, accepted, request(t, 1, at(freePort(t))), reply(5))
	socks(t, st.BoundPort, hello, accepted, request(t, 1, "no-such-host.invalid:80"), reply(4))
	socks(t, st.BoundPort, hello, accepted, request(t, 1, "169.254.169.254:80"), reply(2))
	socks(t, st.BoundPort, hello, accepted, request(t, 2, "127.0.0.1:80"), reply(7))
	socks(t, st.BoundPort, hello, accepted, request(t, 3, "0.0.0.0:0"), reply(7))
	f.faults.RefuseChannels(true)
	socks(t, st.BoundPort, hello, accepted, request(t, 1, "127.0.0.1:80"), reply(2))
}

func TestADynamicTunnelAsksForItsPassword(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	spec := f.spec(Dynamic, "")
	spec.SOCKSUsername, spec.SOCKSPassword = "ann", redact.New("secret")
	st := f.mustStart(spec)
	socks(t, st.BoundPort, hello, []byte{5, 0xff})
	login := func(password string) []byte {
		b := append([]byte{1, 3}, "ann"...)
		return append(append(b, byte(len(password))), password...)
	}
	offer := []byte{5, 1, 2}
	socks(t, st.BoundPort, offer, []byte{5, 2}, login("wrong"), []byte{1, 1})
	c := socks(t, st.BoundPort, offer, []byte{5, 2}, login("secret"), []byte{1, 0}, request(t, 1, target.Start(t)), reply(0))
	if err := target.Download(c, 1000); err != nil {
		t.Error(err)
	}
}

func TestAFailedDynamicTunnelDoesNotEvenGreet(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	st := f.mustStart(f.spec(Dynamic, ""))
	f.faults.SetPassword(redact.New("another"))
	f.faults.DropAll()
	f.reaches("f1", "being refused", in(Failed))
	turnedAway(t, st.BoundPort)
}
