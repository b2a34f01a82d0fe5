package relay

import (
	"net"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link/linksocks"
	"github.com/adit-tunnel/adit/internal/redact"
)

// Others come and go, and SOCKS users wait for anybody who might serve them:
// that is when something could be said before the answer.
func TestTheAnswerIsTheFirstMessageWhateverHappensMeanwhile(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	port := f.reverse("some-reverse-token").Port
	f.connector("some-connector-token", "some-reverse-token")
	const rounds = 60
	stop := make(chan struct{})
	var others sync.WaitGroup
	for range 4 {
		others.Go(func() { // users, who go on asking
			for !closed(stop) {
				c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = c.Write([]byte{5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, 0, 9})
				_, _ = c.Read(make([]byte, 2)) // the greeting; the rest may never come
				_ = c.Close()
			}
		})
	}
	join := func(token string, kind Kind, binary bool) {
		q := query(token, kind, uuid.New())
		if binary {
			q = nil
		}
		conn := f.connect(q)
		if binary {
			must(t, linksocks.SendAuth(conn, linksocks.Auth{Token: redact.New(token), Reverse: kind == Reverse}))
		}
		if answer, err := linksocks.ReadAuthResponse(conn); err != nil || !answer.OK {
			t.Errorf("the first message is %+v, %v", answer, err)
		}
		_ = conn.Close()
	}
	var joining sync.WaitGroup
	for i := range rounds {
		joining.Go(func() { join("some-reverse-token", Reverse, i%3 == 0) })
		joining.Go(func() { join("some-connector-token", Connector, i%3 == 1) })
		if i%8 == 7 {
			joining.Wait()
		}
	}
	joining.Wait()
	close(stop)
	others.Wait()
}

// The answer does not fit into the network, and so is not written while the
// peer does not read.
func TestALinkIsKnownToNobodyBeforeItsAnswerIsWritten(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, f *fixture) {
		f.autonomy("some-reverse-token")
		f.net.SetBuffer(1)
		conn := f.connect(query("some-reverse-token", Reverse, uuid.New()))
		synctest.Wait()
		if n := f.links("some-reverse-token"); n != 0 {
			t.Errorf("%d links are known", n)
		}
		welcomed(t, conn)
		synctest.Wait()
		if n := f.links("some-reverse-token"); n != 1 {
			t.Errorf("%d links are known to others when the peer is welcome", n)
		}
	})
}
