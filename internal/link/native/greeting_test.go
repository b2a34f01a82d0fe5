package native

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

// ends are the two ends of a WebSocket.
func ends(t *testing.T) (client, server *ws.Conn, n *memnet.Network) {
	n = memnet.New()
	a, b := n.Pair()
	client, server = ws.New(a, nil, ws.Config{Client: true}), ws.New(b, nil, ws.Config{})
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return client, server, n
}

func TestAGreetingIsHeardAsItWasMeant(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client, server, _ := ends(t)
		for _, m := range []Hello{
			{}, {Provider, uuid.New(), redact.New("token")}, {User, uuid.Nil, redact.New(strings.Repeat("t", 255))}, {200, uuid.Nil, redact.Secret{}},
		} {
			must(t, SendHello(client, m))
			got, err := ReadHello(server)
			if err != nil || got.Role != m.Role || got.Instance != m.Instance || got.Token.Reveal() != m.Token.Reveal() {
				t.Errorf("%+v, %v", got, err)
			}
		}
		must(t, client.WriteMessage(ws.Binary, frame(typeHello, 0, append([]byte{17: 1}, "t and more of a later version"...))))
		if got, err := ReadHello(server); err != nil || got.Token.Reveal() != "t" {
			t.Errorf("%+v, %v", got, err)
		}
		must(t, SendWelcome(server), ReadWelcome(client))
		must(t, server.WriteMessage(ws.Binary, frame(typeWelcome, 0, []byte("of a later version"))), ReadWelcome(client))
		for _, want := range []RefusedError{{InvalidToken, "no such token"}, {GoingAway, ""}, {99, strings.Repeat("ä", 127)}} {
			must(t, SendRefused(server, want.Reason, want.Text))
			var no *RefusedError
			if err := ReadWelcome(client); !errors.As(err, &no) || *no != want || no.Error() == "" {
				t.Errorf("%v, want %v", err, want)
			}
		}
	})
}

func TestWhatIsNoGreetingIsRefused(t *testing.T) {
	t.Parallel()
	hello := Hello{Token: redact.New("token")}.Append(nil)
	for name, c := range map[string]struct {
		op      ws.Opcode
		message []byte
		section string // none: the WebSocket's own error
	}{
		"text":              {ws.Text, hello, "3"},
		"nothing":           {ws.Binary, nil, "3"},
		"half a header":     {ws.Binary, hello[:7], "3"},
		"half a HELLO":      {ws.Binary, hello[:20], "3"},
		"a short HELLO":     {ws.Binary, frame(typeHello, 0, make([]byte, 17)), "2"},
		"half a token":      {ws.Binary, frame(typeHello, 0, []byte{17: 2, 18: 'x'}), "3.1"},
		"more in a message": {ws.Binary, append(hello[:len(hello):len(hello)], bare(typeFin, 1)...), "3"},
		"WELCOME":           {ws.Binary, bare(typeWelcome, 0), "3"},
		"REFUSED":           {ws.Binary, verdict{Failed, ""}.append(nil, typeRefused, 0), "3"},
		"OPEN":              {ws.Binary, opening{kind: openUDP}.append(nil, 1), "3"},
		"HELLO of a stream": {ws.Binary, frame(typeHello, 1, make([]byte, 18)), "2"},
		"an extension":      {ws.Binary, frame(0x80, 0, nil), "3"},
		"an unknown type":   {ws.Binary, frame(0x7f, 0, nil), "2"},
		"what is too long":  {ws.Binary, zeros(MaxGreeting + 1), ""},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				client, server, _ := ends(t)
				must(t, client.WriteMessage(c.op, c.message))
				_, err := ReadHello(server)
				bad, ok := errors.AsType[*Error](err)
				var long *ws.ProtocolError
				switch {
				case c.section == "" && (!errors.As(err, &long) || long.Code != ws.CodeTooBig):
					t.Errorf("%v", err)
				case c.section != "" && (!ok || bad.Section != c.section):
					t.Errorf("%v, want section %s", err, c.section)
				}
			})
		})
	}
}

func TestAWelcomeThatIsNoneIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client, server, _ := ends(t)
		must(t, SendHello(server, Hello{}))
		if bad, ok := errors.AsType[*Error](ReadWelcome(client)); !ok || bad.Section != "3" {
			t.Errorf("HELLO for WELCOME: %v", bad)
		}
		must(t, server.Close())
		if err := ReadWelcome(client); !errors.Is(err, ws.ErrAbrupt) {
			t.Errorf("a lost link: %v", err)
		}
	})
}

// The client may say more before it is welcome, and the messages may be long then.
func TestWhatIsSaidBehindHELLOIsHeardAfterIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		n := memnet.New()
		a, b := n.Pair()
		client, server := ws.New(a, nil, ws.Config{Client: true}), ws.New(b, nil, ws.Config{})
		must(t, SendHello(client, Hello{Role: User}))
		dial, came := giving()
		near := New(client, true, link.Config{})
		run := func(s *Session) chan struct{} {
			over := make(chan struct{})
			go func() { defer close(over); _ = s.Run(t.Context()) }()
			return over
		}
		// It has written its stream's first bytes before the other end reads.
		c, err := near.DialEarly(t.Context(), "tcp", "target:80")
		must(t, err)
		words := noise(1, 60000)
		wrote := make(chan struct{})
		go func() {
			defer close(wrote)
			_, _ = c.Write(words)
		}()
		m, err := ReadHello(server)
		if err != nil || m.Role != User {
			t.Fatalf("%+v, %v", m, err)
		}
		must(t, SendWelcome(server))
		far := New(server, false, link.Config{Dial: dial})
		over := run(far)
		must(t, ReadWelcome(client))
		client.SetMaxMessage(MaxMessage)
		other := run(near)
		target := <-came
		wantRead(t, target, words)
		<-wrote
		must(t, target.Close())
		must(t, c.Close())
		near.Close()
		<-over
		<-other
	})
}
