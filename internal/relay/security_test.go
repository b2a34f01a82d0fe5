package relay

import (
	"bytes"
	"context"
	"net"
	"strconv"
	"testing"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link/linksocks"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/policy"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

// splitPort takes host:port apart.
func splitPort(t testing.TB, address string) (string, uint16) {
	t.Helper()
	host, text, err := net.SplitHostPort(address)
	must(t, err)
	n, err := strconv.ParseUint(text, 10, 16)
	must(t, err)
	return host, uint16(n)
}

// untouched is a target that nobody may connect to.
func untouched(t testing.TB) string {
	t.Helper()
	ln, _ := occupy(t, 0)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := ln.Accept(); err == nil {
			t.Error("somebody connected to what nobody may")
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return ln.Addr().String()
}

func TestAProviderCannotMakeTheRelayDial(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	f.reverse("some-reverse-token")
	f.autonomy("other-reverse-token")
	host, port := splitPort(t, untouched(t))
	for _, token := range []string{"some-reverse-token", "other-reverse-token"} {
		g := f.guest(token, Reverse, uuid.New())
		for _, proto := range []linksocks.Proto{linksocks.TCP, linksocks.UDP} {
			channel := uuid.New()
			g.say(linksocks.Connect{Proto: proto, Channel: channel, Host: host, Port: port})
			answer := hear[*linksocks.ConnectResponse](g)
			if answer.OK || answer.Channel != channel || linksocks.FailureReason(answer.Cause) != site.Denied {
				t.Errorf("%s, proto %d: told %+v", token, proto, answer)
			}
		}
	}
	if n := f.count("connect_refused"); n != 4 {
		t.Errorf("%d were counted", n)
	}
}

func TestOnlyProvidersThatMayManageConnectors(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	f.forward("some-forward-token")
	f.reverse("some-reverse-token")
	f.autonomy("other-reverse-token")
	f.connector("some-connector-token", "some-reverse-token")
	f.connector("other-connector-token", "other-reverse-token")
	for token, kind := range map[string]Kind{
		"some-forward-token": Forward, "some-reverse-token": Reverse, "some-connector-token": Connector, "other-connector-token": Connector,
	} {
		g := f.guest(token, kind, uuid.New())
		for _, op := range []linksocks.Op{linksocks.OpAdd, linksocks.OpRemove} {
			for _, wish := range []string{"", "brand-new-token", "some-connector-token", token} {
				if answer := g.manage(op, wish); answer.OK || answer.Cause != causeUnauthorized {
					t.Errorf("%s, op %d of %q: told %+v", token, op, wish, answer)
				}
			}
		}
	}
	f.hub.mu.Lock()
	defer f.hub.mu.Unlock()
	if len(f.hub.tokens) != 5 {
		t.Errorf("%d tokens are there", len(f.hub.tokens))
	}
}

func TestAProviderCannotRemoveWhatIsNotItsOwn(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	f.forward("some-forward-token")
	f.reverse("some-reverse-token")
	f.autonomy("other-reverse-token")
	f.autonomy("third-reverse-token")
	f.connector("api-connector-token", "other-reverse-token")
	f.connector("some-connector-token", "some-reverse-token")
	owner, twin, stranger := f.guest("other-reverse-token", Reverse, uuid.New()),
		f.guest("other-reverse-token", Reverse, uuid.New()), f.guest("third-reverse-token", Reverse, uuid.New())
	if answer := owner.manage(linksocks.OpAdd, "own-connector-token"); !answer.OK {
		t.Fatal(answer.Cause)
	}
	before := len(f.hub.tokens)
	for _, g := range []*guest{twin, stranger} {
		for _, token := range []string{
			"some-forward-token", "some-reverse-token", "other-reverse-token", "third-reverse-token", "api-connector-token",
			"some-connector-token", "own-connector-token", "no-such-token", "", "anonymous",
		} {
			if answer := g.manage(linksocks.OpRemove, token); answer.OK || answer.Cause != causeUnknown {
				t.Errorf("%q: told %+v", token, answer)
			}
		}
	}
	if n := len(f.hub.tokens); n != before {
		t.Errorf("%d tokens became %d", before, n)
	}
	if answer := owner.manage(linksocks.OpRemove, "own-connector-token"); !answer.OK {
		t.Errorf("its own: %s", answer.Cause)
	}
	if answer := owner.manage(linksocks.OpAdd, "anonymous"); answer.OK || answer.Cause != causeReserved {
		t.Errorf("anonymous: told %+v", answer)
	}
	for _, taken := range []string{"some-forward-token", "some-reverse-token", "other-reverse-token", "api-connector-token", "some-connector-token"} {
		if answer := owner.manage(linksocks.OpAdd, taken); answer.OK || answer.Cause != causeExists {
			t.Errorf("add %q: told %+v", taken, answer)
		}
	}
}

// Whoever learns a channel's id can do nothing with it on another link.
func TestChannelsOfAnotherLinkAreUnknown(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	echo := target.EchoServer(t)
	f.forward("some-forward-token")
	f.autonomy("some-reverse-token")
	f.connector("some-connector-token", "some-reverse-token")
	provider := f.guest("some-reverse-token", Reverse, uuid.New())
	eventually(t, "the provider is known", func() bool { return f.links("some-reverse-token") == 1 })
	client, connector := f.guest("some-forward-token", Forward, uuid.New()), f.guest("some-connector-token", Connector, uuid.New())
	attackers := []*guest{f.guest("some-forward-token", Forward, uuid.New()), f.guest("some-connector-token", Connector, uuid.New()), provider}
	host, port := splitPort(t, echo)
	mine, theirs := uuid.New(), uuid.New()
	client.say(linksocks.Connect{Proto: linksocks.TCP, Channel: mine, Host: host, Port: port})
	if !hear[*linksocks.ConnectResponse](client).OK {
		t.Fatal("the client is refused")
	}
	hear[*linksocks.Partners](connector)
	connector.say(linksocks.Connect{Proto: linksocks.TCP, Channel: theirs, Host: host, Port: port})
	beyond := await[*linksocks.Connect](provider).Channel // the id on the provider's link
	provider.say(linksocks.ConnectResponse{OK: true, Channel: beyond})
	if beyond == theirs {
		t.Error("the id that a connector chose goes to the provider as it is")
	}
	if !hear[*linksocks.ConnectResponse](connector).OK {
		t.Fatal("the connector is refused")
	}
	for _, g := range attackers {
		ids := []uuid.UUID{mine, theirs}
		if g != provider {
			ids = append(ids, beyond)
		}
		for _, id := range ids {
			g.say(linksocks.ConnectResponse{Channel: id, Cause: "forged"})
			g.say(linksocks.Data{Proto: linksocks.TCP, Channel: id, Payload: []byte("forged")})
			g.say(linksocks.Disconnect{Channel: id, Cause: "forged"})
		}
		// What follows on the same link comes behind all that.
		end := append([]byte{linksocks.Version, byte(linksocks.TypeConnect), 9}, make([]byte, 16)...)
		must(t, g.conn.WriteMessage(ws.Binary, end))
		if await[*linksocks.ConnectResponse](g) == nil {
			t.Fatalf("the link ended: %v", g.err)
		}
	}
	client.say(linksocks.Data{Proto: linksocks.TCP, Channel: mine, Payload: []byte("true")})
	if got := hear[*linksocks.Data](client); string(got.Payload) != "true" {
		t.Errorf("the client hears %q", got.Payload)
	}
	provider.say(linksocks.Data{Proto: linksocks.TCP, Channel: beyond, Payload: []byte("true")})
	if got := hear[*linksocks.Data](connector); string(got.Payload) != "true" || got.Channel != theirs {
		t.Errorf("the connector hears %q", got.Payload)
	}
	if f.count("data_unknown_channel") < 6 {
		t.Errorf("%d were counted", f.count("data_unknown_channel"))
	}
}

// dialFails wants a dial to be refused for this reason.
func dialFails(t testing.TB, what string, m *member, address string, want site.Reason) {
	t.Helper()
	c, err := m.Dial(t.Context(), "tcp", address)
	if err == nil {
		_ = c.Close()
	}
	if err == nil || site.ReasonOf(err) != want {
		t.Errorf("%s, %s: %v, want %v", what, address, err, want)
	}
}

func TestATokensRulesHoldWhereverItsTargetsAreDialled(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	echo, secret := target.EchoServer(t), untouched(t)
	allow, deny := []string{"127.0.0.1", "localhost"}, []string{secret}
	f.add(TokenSpec{Kind: Forward, Token: redact.New("some-forward-token"), Allow: allow, Deny: deny})
	port := f.add(TokenSpec{Kind: Reverse, Token: redact.New("some-reverse-token"), Allow: allow, Deny: deny}).Port
	f.add(TokenSpec{Kind: Connector, Token: redact.New("some-connector-token"), ReverseToken: redact.New("some-reverse-token"), Allow: allow, Deny: deny})
	f.provider("some-reverse-token")
	for what, m := range map[string]*member{
		"forward": f.user("some-forward-token", Forward), "connector": f.user("some-connector-token", Connector),
	} {
		must(t, target.EchoMore(m.dial(t, echo), 1000))
		dialFails(t, what, m, secret, site.Denied)
		dialFails(t, what, m, "127.0.0.2:80", site.Denied)
		dialFails(t, what, m, "169.254.169.254:80", site.Denied)
	}
	must(t, target.EchoMore(through(t, port, echo), 1000))
	for _, address := range []string{secret, "127.0.0.2:80", "169.254.169.254:80", "0x7f000002:80"} {
		if reply := replyTo(t, port, address); reply != 2 {
			t.Errorf("reverse, %s: reply %d", address, reply)
		}
	}
	if f.count("target_denied") == 0 {
		t.Error("nothing was counted")
	}
}

// Datagrams are sent without a word about what becomes of them: two go to
// where they may not, a third one comes back.
func TestATokensRulesHoldForDatagrams(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	allowed, denied := datagramEcho(t), datagramEcho(t)
	deny := []string{denied.String()}
	f.add(TokenSpec{Kind: Forward, Token: redact.New("some-forward-token"), Deny: deny})
	f.autonomy("some-reverse-token")
	f.add(TokenSpec{Kind: Connector, Token: redact.New("some-connector-token"), ReverseToken: redact.New("some-reverse-token"), Deny: deny})
	f.provider("some-reverse-token")
	for token, kind := range map[string]Kind{"some-forward-token": Forward, "some-connector-token": Connector} {
		a, err := f.user(token, kind).Associate(t.Context())
		must(t, err)
		defer a.Close()
		for _, to := range []*net.UDPAddr{denied, denied, allowed} {
			must(t, a.Send([]byte("hello"), to.IP.String(), uint16(to.Port)))
		}
		_, from, err := a.Receive(make([]byte, 100))
		if err != nil || int(from.Port()) != allowed.Port {
			t.Errorf("%s: the first answer is from %v, %v", kind, from, err)
		}
	}
	if n := f.count("target_denied"); n != 2 {
		t.Errorf("%d datagrams of the connector were counted as denied, want 2", n)
	}
}

func TestARelaysRulesHoldBesideATokens(t *testing.T) {
	t.Parallel()
	rules, err := policy.New(nil, []string{"127.0.0.1:9", "localhost"})
	must(t, err)
	f := serve(t, Options{Policy: rules})
	f.add(TokenSpec{Kind: Forward, Token: redact.New("some-forward-token"), Allow: []string{"127.0.0.1:9", "localhost"}})
	m := f.user("some-forward-token", Forward)
	dialFails(t, "forward", m, "127.0.0.1:9", site.Denied)
	dialFails(t, "forward", m, "localhost:80", site.Denied)
	for _, list := range [][2][]string{{{"127.0.0.1:99999"}, nil}, {nil, {"300.0.0.0/8"}}} {
		_, err := f.hub.Add(t.Context(), TokenSpec{Kind: Forward, Allow: list[0], Deny: list[1]})
		if err == nil {
			t.Errorf("%v is a rule", list)
		}
	}
}

func TestTheRelaysOwnListenersAreNoTargets(t *testing.T) {
	t.Parallel()
	rules, err := policy.New(nil, nil)
	must(t, err)
	f := serve(t, Options{Policy: rules})
	_, own := splitPort(t, f.addr)
	rules.DenySelf(own)
	f.forward("some-forward-token")
	port := f.reverse("some-reverse-token").Port
	f.connector("some-connector-token", "some-reverse-token")
	f.provider("some-reverse-token")
	for _, host := range []string{"127.0.0.1", "127.0.0.2", "localhost", "::ffff:127.0.0.1", "::1"} {
		dialFails(t, "forward", f.user("some-forward-token", Forward), net.JoinHostPort(host, strconv.Itoa(int(own))), site.Denied)
	}
	// SOCKS ports are no such listeners.
	must(t, target.EchoMore(f.user("some-forward-token", Forward).dial(t, "127.0.0.1:"+strconv.Itoa(port)), 0))
}

func TestAPlaceThatIsGivenIsToldTheTokensRules(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 10)
	f := serve(t, Options{Deliver: func(p *policy.Policy) Place {
		return Place{Dial: func(_ context.Context, _, address string) (pipe.Conn, error) {
			host, port := splitPort(t, address)
			if err := p.CheckThere(host, port); err != nil {
				return nil, err
			}
			asked <- address
			return nil, &site.DialError{Reason: site.Refused, Address: address, Err: net.ErrClosed}
		}}
	}})
	f.add(TokenSpec{Kind: Forward, Token: redact.New("some-forward-token"), Deny: []string{"denied.example"}})
	m := f.user("some-forward-token", Forward)
	dialFails(t, "forward", m, "allowed.example:80", site.Refused)
	dialFails(t, "forward", m, "denied.example:80", site.Denied)
	if got := <-asked; got != "allowed.example:80" || len(asked) != 0 {
		t.Errorf("asked for %q and %d more", got, len(asked))
	}
	if _, err := m.Associate(t.Context()); site.ReasonOf(err) != site.Denied {
		t.Errorf("a place without datagrams: %v", err)
	}
}

func TestAMessageThatIsNoneEndsItsLinkAlone(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	echo := target.EchoServer(t)
	f.forward("some-forward-token")
	other := f.user("some-forward-token", Forward).dial(t, echo)
	for name, msg := range map[string][]byte{
		"short": {1}, "version": append([]byte{0x21, 3, 1}, make([]byte, 30)...), "op": append([]byte{1, 7}, make([]byte, 20)...),
		"json": {1, 9, 0, 0, 0, 2, '{', 'x'}, "gzip": append(append([]byte{1, 4, 1}, make([]byte, 16)...), 1, 0, 0, 0, 3, 'b', 'a', 'd'),
	} {
		g := f.guest("some-forward-token", Forward, uuid.New())
		must(t, g.conn.WriteMessage(ws.Text, bytes.Clone(msg)))
		for range g.heard {
			t.Errorf("%s: heard something", name)
		}
		eventually(t, name+" is counted", func() bool { return f.count("message_"+name) == 1 })
	}
	must(t, target.EchoMore(other, 1000))
}
