package linksocks

import (
	"bytes"
	"errors"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

// lateWriter says late that what it was given has left.
type lateWriter struct{ net.Conn }

func (c lateWriter) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	time.Sleep(time.Second)
	return n, err
}

// A target may have answered, and ended, before the write of the question has
// returned. All of it was written, so that is no error.
func TestAWriteSucceedsThoughTheAnswerEndsBeforeItReturns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		near, far := memnet.New().Pair()
		e := run(t, lateWriter{near}, true, link.Config{})
		peer := ws.New(far, nil, ws.Config{})
		defer peer.Close()
		go func() {
			for {
				_, msg, err := peer.ReadMessage(nil)
				if err != nil {
					return
				}
				if m, err := new(Decoder).Decode(msg); err == nil && m.Type() == TypeData {
					channel := m.(*Data).Channel
					_ = peer.WriteMessage(ws.Binary, encoded(t, ConnectResponse{OK: true, Channel: channel}))
					_ = peer.WriteMessage(ws.Binary, encoded(t, Data{Proto: TCP, Channel: channel, Payload: []byte("answer")}))
					_ = peer.WriteMessage(ws.Binary, encoded(t, Disconnect{Channel: channel, Cause: "EOF"}))
				}
			}
		}()
		st, err := e.DialEarly(t.Context(), "tcp", "target:80")
		must(t, err)
		if n, err := st.Write([]byte("question")); n != len("question") || err != nil {
			t.Errorf("wrote %d, %v", n, err)
		}
		wantAll(t, st, []byte("answer"))
		if n, err := st.Write([]byte("another")); n != 0 || !errors.Is(err, syscall.EPIPE) {
			t.Errorf("wrote %d, %v", n, err)
		}
	})
}

func TestWhatIsWrittenOwnedArrivesAsWell(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, client := range []bool{true, false} {
			e, p := byHand(t, client, link.Config{})
			st, channel := opened(t, e, p)
			payload := noise(1, 2*maxPayload+3)
			n, err := st.WriteOwned(bytes.Clone(payload))
			must(t, err)
			var got []byte
			for len(got) < len(payload) {
				m := hear[*Data](p)
				got = append(got, m.Payload...)
			}
			if n != len(payload) || !bytes.Equal(got, payload) {
				t.Errorf("client %v: %d bytes of %d, or others", client, n, len(payload))
			}
			p.say(Disconnect{Channel: channel, Cause: "EOF"})
			synctest.Wait()
			if n, err := st.WriteOwned([]byte("x")); n != 0 || !errors.Is(err, syscall.EPIPE) {
				t.Errorf("wrote %d, %v", n, err)
			}
			must(t, st.Close())
			if n, err := st.WriteOwned([]byte("x")); n != 0 || !errors.Is(err, net.ErrClosed) {
				t.Errorf("wrote %d, %v", n, err)
			}
		}
	})
}
