package test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/testx/target"
)

const (
	proxyUser     = "mole"
	proxyPassword = "pw-of-the-proxy"
)

// passed counts what a proxy let through.
type passed struct{ atomic.Int64 }

// socksProxy is a SOCKS5 server with a password.
func socksProxy(t *testing.T) (url string, n *passed) {
	t.Helper()
	n = new(passed)
	address := listen(t, func(c net.Conn) {
		b := bufio.NewReader(c)
		if !login(b, c) {
			return
		}
		var head [3]byte
		if _, err := io.ReadFull(b, head[:]); err != nil || head[1] != connectCommand {
			return
		}
		address, err := readTarget(b)
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", address)
		if err != nil {
			_, _ = c.Write([]byte{5, 5, 0, 1, 0, 0, 0, 0, 0, 0})
			return
		}
		n.Add(1)
		_, _ = c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0})
		splice(c, b, far)
	})
	return "socks5://" + proxyUser + ":" + proxyPassword + "@" + address, n
}

// login is the server's side of RFC 1929.
func login(b *bufio.Reader, c net.Conn) bool {
	field := func() string {
		n, err := b.ReadByte()
		if err != nil {
			return ""
		}
		text := make([]byte, n)
		_, _ = io.ReadFull(b, text)
		return string(text)
	}
	if version, err := b.ReadByte(); err != nil || version != 5 || !strings.Contains(field(), "\x02") {
		return false
	}
	_, _ = c.Write([]byte{5, 2})
	if version, err := b.ReadByte(); err != nil || version != 1 {
		return false
	}
	if user, password := field(), field(); user != proxyUser || password != proxyPassword {
		_, _ = c.Write([]byte{1, 1})
		return false
	}
	_, err := c.Write([]byte{1, 0})
	return err == nil
}

// httpProxy is a proxy for HTTP's CONNECT, with a password.
func httpProxy(t *testing.T) (url string, n *passed) {
	t.Helper()
	n = new(passed)
	address := listen(t, func(c net.Conn) {
		b := bufio.NewReader(c)
		r, err := http.ReadRequest(b)
		if err != nil || r.Method != http.MethodConnect {
			return
		}
		// The basic scheme's header is that of HTTP's own login.
		r.Header.Set("Authorization", r.Header.Get("Proxy-Authorization"))
		if user, password, _ := r.BasicAuth(); user != proxyUser || password != proxyPassword {
			_, _ = io.WriteString(c, "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
			return
		}
		far, err := net.Dial("tcp", r.Host)
		if err != nil {
			_, _ = io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
			return
		}
		n.Add(1)
		_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\nX-Long: "+strings.Repeat("200", 600)+"\r\n\r\n")
		splice(c, b, far)
	})
	return "http://" + proxyUser + ":" + proxyPassword + "@" + address, n
}

// splice carries bytes, and ends of one direction, between a client and far.
func splice(client net.Conn, from io.Reader, far net.Conn) {
	defer func() { _ = far.Close() }()
	var up sync.WaitGroup
	up.Go(func() {
		_, _ = io.Copy(far, from)
		_ = far.(*net.TCPConn).CloseWrite()
	})
	_, _ = io.Copy(client, far)
	if half, ok := client.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	up.Wait()
}

func proxies(t *testing.T) map[string]func(*testing.T) (string, *passed) {
	t.Helper()
	return map[string]func(*testing.T) (string, *passed){"SOCKS5": socksProxy, "HTTP": httpProxy}
}

func TestTargetsCanBeReachedThroughAnUpstreamProxy(t *testing.T) {
	t.Parallel()
	to, port := target.Start(t), udpEcho(t)
	for name, start := range proxies(t) {
		url, n := start(t)
		r := newRelay(t, "-x", url)
		r.hidden.add(proxyPassword)
		p := r.addReverse(reverseToken, nil)
		r.addForward(forwardToken)
		r.peer("provider", reverseToken, "-x", url)
		for _, p := range []proxy{p, r.peer("client", forwardToken).proxy} {
			before := n.Load()
			if err := target.HalfClose(p.open(t, to), small); err != nil || n.Load() != before+1 {
				t.Errorf("%s: %v, %d connections", name, err, n.Load()-before)
			}
			// What cannot go through the proxy does not go beside it.
			if _, _, err := p.request(associateCommand, "0.0.0.0:0"); err == nil {
				t.Errorf("%s: an association beside the proxy, to port %s", name, port)
			}
			p.answers(t, "169.254.169.254:80", notAllowed)
			if n.Load() != before+1 {
				t.Errorf("%s: asked for a denied target", name)
			}
		}
		other := r.addReverse("token-of-the-other", nil)
		r.peer("provider", "token-of-the-other", "-x", strings.Replace(url, proxyPassword, "another-word", 1))
		r.hidden.add("another-word")
		if c, err := other.connect(to); err == nil {
			_ = c.Close()
			t.Errorf("%s: through a proxy with the wrong password", name)
		}
	}
}

func TestTheRelayCanBeReachedThroughAProxy(t *testing.T) {
	t.Parallel()
	to := target.Start(t)
	r := newRelay(t)
	r.hidden.add(proxyPassword, "another-word")
	r.addForward(forwardToken)
	for name, start := range proxies(t) {
		url, n := start(t)
		p := r.peer("client", forwardToken, "--relay-proxy", url)
		if err := target.Echo(p.open(t, to), small); err != nil || n.Load() != 1 {
			t.Errorf("%s: %v, %d connections", name, err, n.Load())
		}
		wrong := strings.Replace(url, proxyPassword, "another-word", 1)
		said := complains(t, 6, r.peerArgs("client", "-t", forwardToken, "-R", "--relay-proxy", wrong)...)
		if strings.Contains(said, "another-word") {
			t.Errorf("%s: the password is shown: %s", name, said)
		}
	}
	// The environment's proxy counts, unless it is told not to.
	url, n := httpProxy(t)
	for _, flags := range [][]string{nil, {"-E"}} {
		cmd := exec.Command(program, r.peerArgs("client", append(flags, "-t", forwardToken)...)...)
		cmd.Env = []string{"HTTP_PROXY=" + url, "HTTPS_PROXY=" + url, "ALL_PROXY=" + url}
		p := r.ready("client", cmd)
		if err := target.Echo(p.open(t, to), small); err != nil {
			t.Error(err)
		}
	}
	// A proxy of the environment is never used for this host itself, as in all
	// of Go's programs.
	if n.Load() != 0 {
		t.Errorf("%d connections to this host through the environment's proxy", n.Load())
	}
}

// terminator ends TLS before a relay, and gives the file with its certificate.
func terminator(t *testing.T, relay string) (address, ca string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	ca = filepath.Join(t.TempDir(), "ca.pem")
	writeFile(t, ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	cfg := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}
	address = listen(t, func(c net.Conn) {
		secured := tls.Server(c, cfg)
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if secured.HandshakeContext(ctx) != nil {
			return
		}
		far, err := net.Dial("tcp", relay)
		if err != nil {
			return
		}
		splice(secured, secured, far)
	})
	return address, ca
}

func TestARelayBehindTLSIsTrustedByItsCertificateAlone(t *testing.T) {
	t.Parallel()
	to := target.Start(t)
	r := newRelay(t)
	r.addForward(forwardToken)
	r.addReverse(reverseToken, nil)
	plain := r.address
	address, ca := terminator(t, plain)
	said := complains(t, 6, "relay", "client", "-u", "wss://"+address, "-t", forwardToken, "-R", "-p", "0")
	says(t, said, "certificate", address)
	for _, url := range []string{"wss://" + address, "https://" + address + "/", address} { // wss without a scheme
		cmd := exec.Command(program, "relay", "client", "-u", url, "-t", forwardToken, "-p", "0", "-d", "--ca", ca)
		p := r.ready("client", cmd)
		if err := target.Download(p.open(t, to), small); err != nil {
			t.Errorf("%s: %v", url, err)
		}
	}
	other := filepath.Join(t.TempDir(), "none.pem")
	writeFile(t, other, []byte("no certificate"))
	says(t, complains(t, 1, "relay", "client", "-u", "wss://"+address, "-t", forwardToken, "--ca", other), "--ca", "no certificate")

	provider := launch(t, "relay", "provider", "-u", "wss://"+address, "-t", reverseToken, "--ca", ca)
	provider.await(provider.stdout, securedReady)
	if text := provider.stdout.String(); !strings.Contains(text, "relay=wss://"+address) {
		t.Errorf("ready line %q", text)
	}
}
