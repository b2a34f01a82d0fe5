package test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/internal/testx/sshd"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

func TestAPeerThatMayNotReconnectSaysWhyItEnds(t *testing.T) {
	t.Parallel()
	away := "ws://127.0.0.1:" + strconv.Itoa(sshd.FreePort(t))
	r := newRelay(t)
	r.addForward(forwardToken)
	for _, role := range []string{"client", "provider", "connector"} {
		says(t, complains(t, 6, "relay", role, "-u", away, "-t", forwardToken, "-R"), away, "connection refused", "hint: ")
		said := complains(t, 5, "relay", role, "-u", "ws://"+r.address, "-t", "a-wrong-token", "-p", "0", "-d", "-d")
		says(t, said, "authentication failed: invalid token", "hint: ")
		if strings.Contains(said, "a-wrong-token") || strings.Contains(said, "36a0809f614b2003") {
			t.Errorf("the token is shown: %s", said)
		}
	}
	// A token of another kind is as wrong.
	says(t, complains(t, 5, r.peerArgs("provider", "-t", forwardToken)...), "authentication failed", "reverse token")

	client := r.peer("client", forwardToken, "--no-reconnect")
	r.kill()
	client.exits(6)
	says(t, client.stderr.String(), "adit: ", "was lost", r.address)
}

func TestAPeerToldToRetryATokenWaitsForIt(t *testing.T) {
	t.Parallel()
	r := newRelay(t)
	p := launch(t, r.peerArgs("client", "-t", forwardToken, "--retry-auth")...)
	r.hidden.watch(p)
	p.await(p.stderr, retrying)
	r.addForward(forwardToken)
	client := proxy{address: p.await(p.stdout, socksReady)[1]}
	if err := target.Echo(client.open(t, target.Start(t)), small); err != nil {
		t.Error(err)
	}
}

// In our own dialect they are lanes of one session, and one client.
func TestAClientMayHaveSeveralLinksAndOpenFast(t *testing.T) {
	t.Parallel()
	t.Run("our own dialect", func(t *testing.T) {
		t.Parallel()
		severalLinks(t, newRelay(t), 1)
	})
	t.Run("linksocks's", func(t *testing.T) {
		t.Parallel()
		severalLinks(t, newRelay(t).inLinksocks(), 4)
	})
}

func severalLinks(t *testing.T, r *relayRun, clients int) {
	to := target.Start(t)
	r.addForward(forwardToken)
	p := r.peer("client", forwardToken, "--threads", "4", "--fast-open")
	r.has(forwardToken, clients)
	for range 8 {
		if err := errors.Join(target.Echo(p.open(t, to), small), target.HalfClose(p.open(t, to), small)); err != nil {
			t.Error(err)
		}
	}
	// The user hears of success before it is known, and of the failure then.
	c := p.open(t, net.JoinHostPort("127.0.0.1", strconv.Itoa(sshd.FreePort(t))))
	if _, err := c.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("a target that refuses: %v", err)
	}
	early := p.open(t, to)
	if err := target.Download(early, small); err != nil {
		t.Error(err)
	}
	p.stop()
	r.has(forwardToken, 0)
}

func TestFastOpenLosesNothingInAnyMode(t *testing.T) {
	t.Parallel()
	to := target.Start(t)
	r := newRelay(t, "--fast-open")
	r.addForward(forwardToken)
	reverse := r.addReverse(reverseToken, nil)
	r.addConnector(connectorToken, reverseToken)
	r.peer("provider", reverseToken, "-T", "2")
	for name, p := range map[string]proxy{
		"forward":   r.peer("client", forwardToken, "-f").proxy,
		"reverse":   reverse,
		"connector": r.peer("connector", connectorToken, "-f", "-T", "2").proxy,
	} {
		for range 50 {
			c, err := p.connect(to)
			if err == nil {
				err = errors.Join(target.HalfClose(c, 100_000), c.Close())
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

func TestATokenMayComeFromAFileOrTheEnvironment(t *testing.T) {
	t.Parallel()
	to := target.EchoServer(t)
	r := newRelay(t)
	r.addForward(forwardToken)
	file := filepath.Join(t.TempDir(), "token")
	writeFile(t, file, []byte(forwardToken+"\n"))
	for name, how := range map[string]struct {
		flags []string
		env   []string
	}{
		"file":           {flags: []string{"--token-file", file}},
		"ours":           {env: []string{"ADIT_TOKEN=" + forwardToken}},
		"stock":          {env: []string{"LINKSOCKS_TOKEN=" + forwardToken}},
		"ours first":     {env: []string{"ADIT_TOKEN=" + forwardToken, "LINKSOCKS_TOKEN=wrong-one"}},
		"flag first":     {flags: []string{"-t", forwardToken}, env: []string{"ADIT_TOKEN=wrong-one"}},
		"file variable":  {env: []string{"ADIT_TOKEN_FILE=" + file}},
		"client, as one": {flags: []string{"-t", forwardToken}, env: []string{"ADIT_URL=ws://127.0.0.1:1", "ADIT_THREADS=2"}},
	} {
		cmd := exec.Command(program, r.peerArgs("client", how.flags...)...)
		cmd.Env = how.env
		p := r.ready("client", cmd)
		if err := target.EchoMore(p.open(t, to), 1000); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		p.stop()
	}
}

// The commands of linksocks with its flags, and the relay's first token from the
// command line.
func TestARelayMayHaveItsTokensFromTheCommandLine(t *testing.T) {
	t.Parallel()
	to := target.Start(t)
	h := newHidden(t)
	h.add("hill-hole-hull")
	port := sshd.FreePort(t)
	r := startRelay(t, h, "-r", "-t", reverseToken, "-c", connectorToken, "-p", strconv.Itoa(port), "-n", "mole", "-w", "hill-hole-hull")
	reverse := proxy{address: "127.0.0.1:" + strconv.Itoa(port), user: "mole", password: "hill-hole-hull"}
	cmd := exec.Command(program, "relay", "client", "-u", "ws://"+r.address, "-t", reverseToken, "-r", "-d")
	r.ready("provider", cmd)
	users := []proxy{reverse, r.peer("connector", connectorToken).proxy, r.peer("client", connectorToken).proxy}
	for _, p := range users {
		if err := target.Echo(p.open(t, to), small); err != nil {
			t.Error(err)
		}
	}
	proxy{address: reverse.address}.answers(t, to, errLogin)

	// A token that nobody gave is shown once.
	alone := startRelay(t, newHidden(t))
	token := alone.await(alone.stderr, shownToken)[1]
	client := alone.peer("client", token)
	if err := target.Echo(client.open(t, to), small); err != nil {
		t.Error(err)
	}
	if n := strings.Count(alone.stderr.String(), token); n != 1 {
		t.Errorf("shown %d times: %s", n, alone.stderr)
	}
}

func TestWrongUsageOfTheRelayEndsWith2(t *testing.T) {
	t.Parallel()
	says(t, complains(t, 2, "relay", "client", "-u", "ftp://nowhere", "-t", "x"), "--url")
	says(t, complains(t, 2, "relay", "client", "-p", "70000"), "--socks-port")
	says(t, complains(t, 2, "relay", "provider", "-x", "gopher://a:secret-word@b"), "--upstream-proxy")
	says(t, complains(t, 2, "relay", "serve", "--deny", "300.1.1.1/99"), "--deny")
	says(t, complains(t, 2, "relay", "serve", "-t", strings.Repeat("x", 256)), "--token")
	says(t, complains(t, 1, "relay", "serve", "-H", "127.0.0.1", "-P", "0", "-t", "anonymous"), "'anonymous' is reserved")
	says(t, complains(t, 2, "relay", "dig"), `unknown command "dig"`)
	if said := complains(t, 2, "relay", "provider", "-x", "gopher://a:secret-word@b"); strings.Contains(said, "secret-word") {
		t.Errorf("the proxy's password is shown: %s", said)
	}
}

func TestATakenPortOfARelayOrPeerIsToldAndEndsWith1(t *testing.T) {
	t.Parallel()
	taken := listen(t, func(net.Conn) {})
	_, port := split(t, taken)
	text := fmt.Sprint(port)
	says(t, complains(t, 1, "relay", "serve", "-H", "127.0.0.1", "-P", text), taken, "address already in use")
	says(t, complains(t, 1, "relay", "serve", "-H", "127.0.0.1", "-P", "0", "-r", "-t", reverseToken, "-c", connectorToken, "-p", text), text)
	r := newRelay(t)
	r.addForward(forwardToken)
	says(t, complains(t, 1, "relay", "client", "-u", "ws://"+r.address, "-t", forwardToken, "-p", text), taken, "address already in use")
}

// What peers and relays say beside their ready lines.
var (
	retrying     = regexp.MustCompile(`no link to the relay, trying again.*invalid token`)
	shownToken   = regexp.MustCompile(`(?m)^The forward token, which nobody gave, is: (\S+)$`)
	securedReady = regexp.MustCompile(`^adit ready relay=(wss://\S+)\n$`)
)
