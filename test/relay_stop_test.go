package test

import (
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/testx/target"
)

// A relay that is told to stop lets streams end, takes nobody new in, and ends.
func TestARelayDrainsItsStreamsAndEndsWithZero(t *testing.T) {
	t.Parallel()
	to := target.Start(t)
	for name, r := range map[string]*relayRun{
		"serve":       serveWithRelay(t, newDir(t), "--drain", "1m"),
		"relay serve": newRelay(t, "--drain", "1m"),
	} {
		r.addForward(forwardToken)
		reverse := r.addReverse(reverseToken, nil)
		r.peer("provider", reverseToken)
		client := r.peer("client", forwardToken)
		streams := []net.Conn{client.open(t, to), reverse.open(t, to)}
		for _, c := range streams {
			if err := target.Echo(c, small); err != nil {
				t.Fatal(err)
			}
		}
		r.signal(syscall.SIGTERM)
		r.becomes("draining", func() (any, bool) { return r.upgrade() })
		for _, c := range streams {
			if err := target.EchoMore(c, small); err != nil {
				t.Errorf("%s: a stream while it drains: %v", name, err)
			}
		}
		if r.gone(0) {
			t.Errorf("%s ended before its streams", name)
		}
		for _, c := range streams {
			if err := c.Close(); err != nil {
				t.Fatal(err)
			}
		}
		at := time.Now()
		r.exits(0)
		if took := time.Since(at); took > 3*time.Second {
			t.Errorf("%s ended %v after its last stream", name, took)
		}
	}
}

// upgrade asks for a WebSocket, and reports whether there is to be none now.
func (r *relayRun) upgrade() (seen any, refused bool) {
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, "http://"+r.address+"/socket", nil)
	if err != nil {
		return err, false
	}
	for key, value := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
	} {
		req.Header.Set(key, value)
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		return err, false
	}
	_ = res.Body.Close()
	return res.Status, res.StatusCode == http.StatusServiceUnavailable
}

func TestARelayEndsStreamsThatGoOnForTooLong(t *testing.T) {
	t.Parallel()
	to := target.Start(t)
	for name, r := range map[string]*relayRun{
		"serve":       serveWithRelay(t, newDir(t), "--drain", "1s"),
		"relay serve": newRelay(t, "--drain", "1s"),
	} {
		r.addForward(forwardToken)
		c := begun(t, r.peer("client", forwardToken).proxy, to)
		at := time.Now()
		r.signal(syscall.SIGTERM)
		r.exits(0)
		if took := time.Since(at); took < time.Second || took > 4*time.Second {
			t.Errorf("%s ended after %v", name, took)
		}
		breaks(t, c)
	}
}

func TestASecondSignalEndsARelayAtOnce(t *testing.T) {
	t.Parallel()
	r := newRelay(t, "--drain", "1m")
	r.addForward(forwardToken)
	begun(t, r.peer("client", forwardToken).proxy, target.Start(t))
	r.signal(syscall.SIGTERM)
	r.becomes("draining", func() (any, bool) { return r.upgrade() })
	r.signal(syscall.SIGINT)
	r.exits(130)
}

func TestTheRelaysSettingsMayBeInTheConfigurationFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "adit.yaml")
	writeFile(t, file, []byte(strings.Join([]string{
		"relay-listen: 127.0.0.1:0", "api-key: " + relayKey, "socks-pool: 21000-21999",
		"socks-ports: [21000-21999, '22500']", "deny: ['*:1']",
	}, "\n")+"\n"))
	h := newHidden(t)
	// The fixture's own flags would be stronger.
	a := launch(t, "serve", "--data", newDir(t), "--listen", "127.0.0.1:0", "--config", file)
	h.watch(a)
	r := &relayRun{process: a, t: t, address: a.await(a.stdout, readyLine)[2], hidden: h}
	if port := r.add(object{"type": "reverse", "token": reverseToken})["port"].(float64); port < 21000 || port > 21999 {
		t.Errorf("port %v", port)
	}
	answer := r.call(400, "POST", "/api/token", object{"type": "reverse", "port": 22501})
	r.hidden.add(fmt.Sprint(r.call(200, "POST", "/api/token", object{"type": "reverse", "port": 22500})["token"]))
	if answer["error"] != "invalid port" {
		t.Errorf("answer %v", answer)
	}
	r.addForward(forwardToken)
	r.peer("client", forwardToken).answers(t, "127.0.0.1:1", notAllowed)
}
