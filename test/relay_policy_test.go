package test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/testx/target"
)

func TestTheRelaysRulesHoldForForwardTokens(t *testing.T) {
	t.Parallel()
	to, denied := target.EchoServer(t), target.EchoServer(t)
	_, port, _ := net.SplitHostPort(denied)
	r := newRelay(t, "--deny", "127.0.0.1:"+port)
	r.addForward(forwardToken)
	r.add(object{"type": "forward", "token": "token-with-rules", "allow": []string{to}})
	r.add(object{"type": "forward", "token": "token-with-denial", "deny": []string{"localhost", "[::1]"}})
	plain := r.peer("client", forwardToken).proxy
	only := r.peer("client", "token-with-rules").proxy
	not := r.peer("client", "token-with-denial").proxy

	for address, p := range map[string]proxy{
		denied:                        plain,
		"localhost:" + port:           plain, // it is the address that counts
		"[::ffff:127.0.0.1]:" + port:  plain,
		"127.0.0.2:1":                 only,
		r.address:                     plain,
		"[::1]:22":                    not,
		"localhost:22":                not,
		"169.254.169.254:80":          plain,
		"[::ffff:169.254.169.254]:80": plain,
		"[fe80::1]:80":                plain,
		"[fd00:ec2::254]:80":          plain,
		"100.100.100.200:80":          plain,
		"224.0.0.1:80":                plain,
		"255.255.255.255:80":          plain,
	} {
		p.answers(t, address, notAllowed)
	}
	_, relayPort, _ := net.SplitHostPort(r.address)
	for _, self := range []string{"localhost:", "127.0.0.2:", "0.0.0.0:", "[::]:", "[::1]:", "127.1:", "0x7f000001:", "2130706433:"} {
		c, err := plain.connect(self + relayPort)
		if err == nil {
			_ = c.Close()
			t.Errorf("the relay itself is reached as %s", self)
		}
	}
	for _, p := range []proxy{plain, only, not} {
		if err := target.EchoMore(p.open(t, to), 1000); err != nil {
			t.Error(err)
		}
	}
}

func TestAProvidersRulesAndTheTokensBothHold(t *testing.T) {
	t.Parallel()
	to, denied, byToken := target.EchoServer(t), target.EchoServer(t), target.EchoServer(t)
	r := newRelay(t)
	p := r.addReverse(reverseToken, object{"deny": []string{byToken}})
	r.addConnector(connectorToken, reverseToken)
	provider := r.peer("provider", reverseToken, "--deny", denied)
	for _, p := range []proxy{p, r.peer("connector", connectorToken).proxy} {
		p.answers(t, denied, notAllowed)
		p.answers(t, byToken, notAllowed)
		p.answers(t, "169.254.169.254:80", notAllowed)
		if err := target.EchoMore(p.open(t, to), 1000); err != nil {
			t.Error(err)
		}
	}
	provider.stop()
	r.peer("provider", reverseToken, "--allow", "127.0.0.0/8")
	p.answers(t, "10.0.0.1:80", notAllowed)
	if err := target.EchoMore(p.open(t, denied), 1000); err != nil {
		t.Error(err)
	}
}

func TestDatagramsObeyTheRulesToo(t *testing.T) {
	t.Parallel()
	open, denied := udpEcho(t), udpEcho(t)
	r := newRelay(t, "--deny", "*:"+denied)
	r.addForward(forwardToken)
	reverse := r.addReverse(reverseToken, nil)
	r.peer("provider", reverseToken)
	for _, p := range []proxy{r.peer("client", forwardToken).proxy, reverse} {
		a := p.associate(t)
		for _, address := range []string{"127.0.0.1:" + denied, "localhost:" + denied, "169.254.169.254:" + open} {
			a.send(address, "to where none may go")
		}
		// What comes back first is what was sent last.
		a.echoes("127.0.0.1:"+open, "to where all may go", "127.0.0.1")
		if from, text, err := a.receive(200 * time.Millisecond); err == nil {
			t.Errorf("%q from %s", text, from)
		}
	}
}

func TestTheAPIRefusesRulesThatAreNone(t *testing.T) {
	t.Parallel()
	r := newRelay(t)
	answer := r.call(400, "POST", "/api/token", object{"type": "forward", "token": "x", "deny": []string{"10.0.0.0/99"}})
	if text, _ := answer["error"].(string); !strings.HasPrefix(text, "invalid rule: ") {
		t.Errorf("answer %v", answer)
	}
	r.call(404, "DELETE", "/api/token/x", nil)
}
