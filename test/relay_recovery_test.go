package test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/testx/target"
)

// soon is how long the users of what broke may have to wait until they know.
const soon = 2 * time.Second

// transfer goes on without end, both ways.
type transfer struct {
	net.Conn
	moving chan struct{} // holds one after each piece
	ended  chan error
}

// begun gives a transfer that is under way.
func begun(t *testing.T, p proxy, to string) *transfer {
	t.Helper()
	return begin(t, p.open(t, to))
}

// begin is begun, for a connection that there is.
func begin(t *testing.T, c net.Conn) *transfer {
	t.Helper()
	tr := &transfer{Conn: c, moving: make(chan struct{}, 1), ended: make(chan error, 1)}
	if _, err := tr.Write([]byte{'E'}); err != nil {
		t.Fatal(err)
	}
	go tr.run()
	tr.moves(t)
	return tr
}

// run sends pieces and waits for each to come back. Were it to write and read at
// once, the write could take the news of a reset, and the read find an end.
func (tr *transfer) run() {
	sent, got := bytes.Repeat([]byte("to and fro "), 1000), make([]byte, 11000)
	for {
		_, err := tr.Write(sent)
		if err == nil {
			_, err = io.ReadFull(tr, got)
		}
		if err == nil && !bytes.Equal(got, sent) {
			err = errors.New("other bytes came back")
		}
		if err != nil {
			tr.ended <- err
			return
		}
		select {
		case tr.moving <- struct{}{}:
		default:
		}
	}
}

// moves waits until more has come.
func (tr *transfer) moves(t *testing.T) {
	t.Helper()
	select {
	case <-tr.moving:
	default:
	}
	select {
	case <-tr.moving:
	case err := <-tr.ended:
		t.Fatalf("the transfer ended: %v", err)
	case <-time.After(patience):
		t.Fatal("the transfer stands still")
	}
}

// breaks demands that a transfer ends soon, and with an error.
func breaks(t *testing.T, tr *transfer) {
	t.Helper()
	if err := tr.ends(t); errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a broken transfer came to a clean end: %v", err)
	}
}

// ends demands that a transfer ends soon, and gives its error.
func (tr *transfer) ends(t *testing.T) error {
	t.Helper()
	at := time.Now()
	select {
	case err := <-tr.ended:
		if took := time.Since(at); took > soon {
			t.Errorf("a broken transfer ended after %v with %v", took, err)
		}
		return err
	case <-time.After(patience):
		t.Fatal("a broken transfer goes on")
		return nil
	}
}

func TestAProviderThatDiesEndsItsStreamsAndTheNextServes(t *testing.T) {
	t.Parallel()
	to := target.Start(t)
	r := newRelay(t)
	reverse := r.addReverse(reverseToken, nil)
	r.addConnector(connectorToken, reverseToken)
	provider := r.peer("provider", reverseToken)
	users := map[string]proxy{"reverse": reverse, "connector": r.peer("connector", connectorToken).proxy}
	transfers := map[string]*transfer{}
	for name, p := range users {
		transfers[name] = begun(t, p, to)
	}
	provider.kill()
	for _, c := range transfers {
		breaks(t, c)
	}
	// Who comes now waits for the next provider.
	var waiting sync.WaitGroup
	for name, p := range users {
		waiting.Go(func() {
			c, err := p.connect(to)
			if err == nil {
				err = errors.Join(target.Echo(c, small), c.Close())
			}
			if err != nil {
				t.Errorf("%s, after the provider came back: %v", name, err)
			}
		})
	}
	r.has(reverseToken, 0)
	r.peer("provider", reverseToken)
	waiting.Wait()
}

func TestARelayThatDiesComesBackWithItsTokensAndItsPeersReturn(t *testing.T) {
	t.Parallel()
	to := target.Start(t)
	r := newRelay(t, "--data", newDir(t))
	r.addForward(forwardToken)
	reverse := r.addReverse(reverseToken, object{"username": "mole", "password": "hill-hole-hull"})
	r.addConnector(connectorToken, reverseToken)
	r.add(object{"type": "reverse", "token": "token-of-autonomy", "allow_manage_connector": true})
	r.add(object{"type": "forward", "token": "token-with-rules", "deny": []string{"*:1"}})
	r.peer("provider", reverseToken)
	r.hidden.add("connector-of-autonomy")
	r.peer("provider", "token-of-autonomy", "-c", "connector-of-autonomy")
	users := map[string]proxy{
		"forward":   r.peer("client", forwardToken).proxy,
		"reverse":   reverse,
		"connector": r.peer("connector", connectorToken).proxy,
		"autonomy":  r.peer("connector", "connector-of-autonomy").proxy,
		"rules":     r.peer("client", "token-with-rules").proxy,
	}
	transfers := map[string]*transfer{}
	for name, p := range users {
		transfers[name] = begun(t, p, to)
	}
	before := fmt.Sprint(r.names())
	r = r.again(r.kill)
	_ = transfers["reverse"].ends(t) // with what the system says for the dead
	delete(transfers, "reverse")
	for _, tr := range transfers {
		breaks(t, tr)
	}
	if after := fmt.Sprint(r.names()); after != before {
		t.Errorf("tokens after the crash:\n%s\nbefore:\n%s", after, before)
	}
	// Users wait up to 10 s for links, which come back within 1 s for the most part.
	var working sync.WaitGroup
	for name, p := range users {
		working.Go(func() {
			c, err := p.connect(to)
			if err == nil {
				err = errors.Join(target.Echo(c, small), c.Close())
			}
			if err != nil {
				t.Errorf("%s after the crash: %v", name, err)
			}
		})
	}
	working.Wait()
	users["rules"].answers(t, "127.0.0.1:1", notAllowed)
	proxy{address: reverse.address}.answers(t, to, errLogin)
}

// names gives what the status says of the tokens but for who uses them.
func (r *relayRun) names() []any {
	r.t.Helper()
	rows := r.call(200, "GET", "/api/status", nil)["tokens"].([]any)
	for _, row := range rows {
		delete(row.(object), "clients_count")
	}
	return rows
}

func TestServeKeepsTheRelaysTokensToo(t *testing.T) {
	t.Parallel()
	data := newDir(t)
	r := serveWithRelay(t, data)
	p := r.addReverse(reverseToken, object{"username": "mole", "password": "hill-hole-hull"})
	before := fmt.Sprint(r.names())
	r.kill()
	r = serveWithRelay(t, data)
	r.hidden.add("hill-hole-hull")
	if after := fmt.Sprint(r.names()); after != before {
		t.Errorf("tokens after the crash: %s, before: %s", after, before)
	}
	r.peer("provider", reverseToken)
	if err := target.Echo(p.open(t, target.Start(t)), small); err != nil {
		t.Error(err)
	}
	r.remove(reverseToken)
	r.stop()
	r = serveWithRelay(t, data)
	if left := r.names(); len(left) != 0 {
		t.Errorf("a removed token came back: %v", left)
	}
}

func TestARemovedTokenIsCutAndItsPortIsFreeAtOnce(t *testing.T) {
	t.Parallel()
	to := target.Start(t)
	r := newRelay(t)
	r.addForward(forwardToken)
	reverse := r.addReverse(reverseToken, nil)
	r.addConnector(connectorToken, reverseToken)
	client := r.peer("client", forwardToken)
	provider := r.peer("provider", reverseToken)
	connector := r.peer("connector", connectorToken)
	forwarded := begun(t, client.proxy, to)
	throughPort, throughConnector := begun(t, reverse, to), begun(t, connector.proxy, to)

	r.remove(forwardToken)
	breaks(t, forwarded)
	throughPort.moves(t)
	throughConnector.moves(t)
	r.remove(reverseToken)
	breaks(t, throughPort)
	breaks(t, throughConnector)
	closed(t, reverse.address)
	// A token that there is not is no reason to try again.
	for _, p := range []*peerRun{client, provider, connector} {
		p.exits(5)
	}
	_, port := split(t, reverse.address)
	for range 5 {
		r.addReverse(reverseToken, object{"port": port})
		r.remove(reverseToken)
	}
	r.addReverse(reverseToken, object{"port": port})
	r.peer("provider", reverseToken)
	if err := target.Echo(reverse.open(t, to), small); err != nil {
		t.Errorf("by the same port again: %v", err)
	}
}

func TestWithoutAProviderASOCKSUserIsToldWhyAfterAWhile(t *testing.T) {
	t.Parallel()
	r := newRelay(t)
	nowait := newRelay(t, "-i", "--connector-wait-provider", "0")
	reverse := r.addReverse(reverseToken, nil)
	r.addConnector(connectorToken, reverseToken)
	r.addConnector("connector-of-none", reverseToken)
	impatient := nowait.addReverse(reverseToken, nil)
	nowait.addConnector(connectorToken, reverseToken)
	connector := r.peer("connector", connectorToken).proxy
	var users sync.WaitGroup
	for _, user := range []struct {
		proxy    proxy
		min, max time.Duration
	}{
		{reverse, 9 * time.Second, 12 * time.Second},
		{connector, 4 * time.Second, 7 * time.Second},
		{impatient, 0, soon},
		{nowait.peer("connector", connectorToken).proxy, 0, soon},
	} {
		users.Go(func() {
			at := time.Now()
			user.proxy.answers(t, "127.0.0.1:80", networkUnreachable)
			if took := time.Since(at); took < user.min || took > user.max {
				t.Errorf("told after %v instead of between %v and %v", took, user.min, user.max)
			}
		})
	}
	users.Wait()
}

// An operator's polling, with tokens coming and going, must not stop anything.
func TestStatusCanBePolledWhileTokensComeAndGo(t *testing.T) {
	t.Parallel()
	r := newRelay(t)
	r.addForward(forwardToken)
	p := r.peer("client", forwardToken).proxy
	to := target.Start(t)
	var work sync.WaitGroup
	for i := range 3 {
		work.Go(func() {
			for n := range 40 {
				body := fmt.Sprintf(`{"type":"forward","token":"passing-%d-%d"}`, i, n)
				for _, call := range [][3]string{{"POST", "/api/token", body}, {"DELETE", "/api/token", body}, {"GET", "/api/status", ""}} {
					if status, text, err := r.ask(call[0], call[1], call[2]); err != nil || status != 200 {
						t.Errorf("%v: %d %s %v", call, status, text, err)
						return
					}
				}
			}
		})
	}
	for range 10 {
		if err := target.Echo(p.open(t, to), small); err != nil {
			t.Error(err)
		}
	}
	work.Wait()
}
