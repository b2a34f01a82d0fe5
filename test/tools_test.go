package test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/internal/testx/sshd"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

// tool runs another program to its end and gives its output and exit code.
func tool(t *testing.T, stdin io.Reader, name string, args ...string) (out []byte, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin, cmd.Env = stdin, environment(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s: %v", name, err)
	}
	if stderr.Len() > 0 {
		t.Logf("%s %s: %s", name, strings.Join(args, " "), &stderr)
	}
	return out, cmd.ProcessState.ExitCode()
}

// webServer answers every GET with a page and every POST with what it was sent.
func webServer(t *testing.T) (address, page string) {
	t.Helper()
	page = strings.Repeat("a page behind the site\n", 1000)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			_, _ = io.Copy(w, r.Body)
			return
		}
		_, _ = io.WriteString(w, page)
	}))
	t.Cleanup(web.Close)
	return web.Listener.Addr().String(), page
}

// curl demands that a request is answered with want.
func curl(t *testing.T, want string, args ...string) {
	t.Helper()
	out, code := tool(t, strings.NewReader(want), "curl", append([]string{"-sS", "--max-time", "15"}, args...)...)
	if code != 0 || string(out) != want {
		t.Errorf("curl %v: exit code %d, %d bytes", args, code, len(out))
	}
}

// curlFails demands that curl gives up at the proxy (its exit code 97).
func curlFails(t *testing.T, args ...string) {
	t.Helper()
	if out, code := tool(t, nil, "curl", append([]string{"-sS", "--max-time", "15"}, args...)...); code != 97 || len(out) > 0 {
		t.Errorf("curl %v: exit code %d, %q", args, code, out)
	}
}

func TestCurlReachesAWebServerThroughALocalForward(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	web, page := webServer(t)
	url := "http://" + bound(g.start(g.create(g.local(web))))
	curl(t, page, url+"/index.html")
	curl(t, strings.Repeat("sent and sent back\n", 50000), "--data-binary", "@-", url)
}

func TestCurlReachesAWebServerThroughADynamicForward(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	web, page := webServer(t)
	_, port := split(t, web)
	proxy := bound(g.start(g.create(g.dynamic())))
	curl(t, page, "--socks5-hostname", proxy, "http://localhost:"+strconv.Itoa(port)+"/")
	curl(t, page, "--socks5", proxy, "http://"+web+"/")
	curlFails(t, "--socks5-hostname", proxy, "http://127.0.0.1:"+strconv.Itoa(sshd.FreePort(t))+"/")
	curl(t, page, "--socks5-hostname", proxy, "http://"+web+"/") // after the failure too
}

func TestADynamicForwardWithAPasswordServesOnlyWhoKnowsIt(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	web, page := webServer(t)
	forward := g.dynamic()
	forward["socksUsername"], forward["socksPassword"] = "mole", "hill-hole-hull"
	proxy, url := bound(g.start(g.create(forward))), "http://"+web+"/"
	curl(t, page, "--socks5-hostname", proxy, "--proxy-user", "mole:hill-hole-hull", url)
	curlFails(t, "--socks5-hostname", proxy, "--proxy-user", "mole:another", url)
	curlFails(t, "--socks5-hostname", proxy, "--proxy-user", "worm:hill-hole-hull", url)
	curlFails(t, "--socks5-hostname", proxy, url)
}

// The remote forward leads back to the sshd that it listens on, so ssh logs in
// through it and has sshd connect to the target.
func TestSSHLogsInThroughARemoteForward(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	host, port := split(t, bound(g.start(g.create(g.remote(g.sshd.Addr)))))
	dir := t.TempDir()
	key, known := filepath.Join(dir, "key"), filepath.Join(dir, "known_hosts")
	line := fmt.Sprintf("[%s]:%d %s", host, port, ssh.MarshalAuthorizedKey(g.sshd.HostPublicKey))
	if err := errors.Join(os.WriteFile(key, g.sshd.ClientKeyPEM, 0o600), os.WriteFile(known, []byte(line), 0o600)); err != nil {
		t.Fatal(err)
	}
	sent := make([]byte, small)
	_, _ = rand.Read(sent)
	out, code := tool(t, bytes.NewReader(sent), "ssh", "-F", "none", "-i", key, "-o", "IdentitiesOnly=yes",
		"-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "UserKnownHostsFile="+known,
		"-p", strconv.Itoa(port), "-W", target.EchoServer(t), g.sshd.User+"@"+host)
	if code != 0 || !bytes.Equal(out, sent) {
		t.Errorf("exit code %d, %d bytes came back", code, len(out))
	}
}

// encrypted puts a key in OpenSSH's form under a passphrase, as ssh-keygen does.
// One round of its key derivation instead of 16: under the race detector each
// takes a good part of a second.
func encrypted(t *testing.T, key []byte, passphrase string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, key, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, code := tool(t, nil, "ssh-keygen", "-q", "-p", "-a", "1", "-P", "", "-N", passphrase, "-f", path); code != 0 {
		t.Fatalf("ssh-keygen: exit code %d", code)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// manual is a forward to the target that brings its own server and key.
func (g *ground) manual(key, passphrase string) object {
	forward := g.local(g.target)
	delete(forward, "serverId")
	forward["name"], forward["serverAddress"], forward["username"] = "manual", g.sshd.Addr, g.sshd.User
	forward["authType"], forward["keyContent"], forward["passphrase"] = "keyContent", key, passphrase
	return forward
}

func TestAManualForwardLogsInWithAnEncryptedKey(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	const passphrase = "open-sesame"
	row := g.start(g.create(g.manual(encrypted(t, g.sshd.ClientKeyPEM, passphrase), passphrase)))
	w := way{name: "manual", dial: dialer(bound(row))}
	w.carries(t, small)
}
