package target_test

import (
	"bytes"
	"io"
	"net"
	"testing"

	"go.uber.org/goleak"

	"github.com/adit-tunnel/adit/internal/testx/target"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func dial(t *testing.T, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestTheClientSideAgreesWithTheTarget(t *testing.T) {
	t.Parallel()
	address := target.Start(t)
	for name, run := range map[string]func(net.Conn, int64) error{
		"download":   target.Download,
		"upload":     target.Upload,
		"half-close": target.HalfClose,
		"echo":       target.Echo,
	} {
		for _, n := range []int64{0, 1, 1 << 20} {
			if err := run(dial(t, address), n); err != nil {
				t.Errorf("%s of %d bytes: %v", name, n, err)
			}
		}
	}
}

func TestEchoMoreContinuesAConnection(t *testing.T) {
	t.Parallel()
	conn := dial(t, target.EchoServer(t))
	for range 3 {
		if err := target.EchoMore(conn, 100_000); err != nil {
			t.Fatal(err)
		}
	}
}

// edited is a connection whose incoming bytes somebody has changed.
type edited struct {
	net.Conn
	in io.Reader
}

func (e edited) Read(p []byte) (int, error) { return e.in.Read(p) }

func TestDownloadTellsDamage(t *testing.T) {
	t.Parallel()
	const size = 100_000
	right := make([]byte, size)
	if _, err := io.ReadFull(target.Stream(), right); err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(right)
	flipped[size/2] ^= 1
	for name, got := range map[string][]byte{
		"a changed byte": flipped,
		"a lost byte":    append(bytes.Clone(right[:500]), right[501:]...),
		"an early end":   right[:size-1],
		"a byte more":    append(bytes.Clone(right), 0),
	} {
		conn := edited{Conn: dial(t, target.Start(t)), in: bytes.NewReader(got)}
		if err := target.Download(conn, size); err == nil {
			t.Errorf("%s goes unnoticed", name)
		}
	}
}

func TestUploadTellsDamage(t *testing.T) {
	t.Parallel()
	conn := edited{Conn: dial(t, target.Start(t)), in: bytes.NewReader(make([]byte, 32))}
	if err := target.Upload(conn, 1000); err == nil {
		t.Error("a wrong hash goes unnoticed")
	}
}
