package test

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/testx/target"
)

const upgradeRequest = "GET /socket%s HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"

// clientFrame is a binary message under a mask of zeros (RFC 6455, section 5.2).
func clientFrame(payload string) string {
	if len(payload) > 125 {
		return string([]byte{0x82, 0xfe, byte(len(payload) >> 8), byte(len(payload)), 0, 0, 0, 0}) + payload
	}
	return string([]byte{0x82, 0x80 | byte(len(payload)), 0, 0, 0, 0}) + payload
}

// sends says a text to address and gives the connection, which ends with the test.
func sends(t *testing.T, address, text string) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", address, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	return c
}

// dropped waits for the end of a connection.
func dropped(c net.Conn) error {
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("it is not ended")
	}
	return nil
}

func TestWhatStrangersSendIsEndedAndHarmsNobody(t *testing.T) {
	t.Parallel()
	r := newRelay(t)
	r.addForward(forwardToken)
	reverse := r.addReverse(reverseToken, object{"username": "mole", "password": "hill-hole-hull"})
	p := r.peer("client", forwardToken).proxy
	kept := p.open(t, target.Start(t))
	if err := target.Echo(kept, small); err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, 64<<10)
	_, _ = rand.Read(noise)
	up := fmt.Sprintf(upgradeRequest, "")
	for name, text := range map[string]string{
		"noise":             string(noise),
		"SSH":               "SSH-2.0-stranger\r\n",
		"no HTTP":           strings.Repeat("\x00", 1000) + "\r\n\r\n",
		"long header":       "GET /socket HTTP/1.1\r\nHost: relay\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n",
		"not masked":        up + "\x82\x02\x01\x01",
		"reserved bits":     up + "\xf2\x80\x00\x00\x00\x00",
		"empty":             up + clientFrame(""),
		"unknown type":      up + clientFrame("\x01\x7f"),
		"other major":       up + clientFrame("\x21\x01\x01x\x00"+strings.Repeat("\x00", 16)),
		"cut":               up + clientFrame("\x01\x01\xff"),
		"no auth":           up + clientFrame("\x01\x06"+strings.Repeat("\x00", 16)),
		"wrong token":       up + clientFrame("\x01\x01\x05guess\x00"+strings.Repeat("\x01", 16)),
		"zero instance":     up + clientFrame("\x01\x01\x24"+"00000000-0000-0000-0000-000000000000"+"\x01"+strings.Repeat("\x00", 16)),
		"anonymous":         up + clientFrame("\x01\x01\x09anonymous\x00"+strings.Repeat("\x01", 16)),
		"long first":        up + "\x82\xff\x00\x00\x00\x00\x01\xff\xff\xff\x00\x00\x00\x00" + string(noise),
		"huge frame":        up + "\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
		"wrong hash":        fmt.Sprintf(upgradeRequest, "?token="+strings.Repeat("a", 64)),
		"no hash":           fmt.Sprintf(upgradeRequest, "?token=short"),
		"many small frames": up + strings.Repeat("\x02\x80\x00\x00\x00\x00", 1000) + "\x00\x80\x00\x00\x00",
	} {
		if err := dropped(soft(sends(t, r.address, ""), text)); err != nil && name != "many small frames" {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, text := range map[string]string{
		"noise": string(noise), "SOCKS4": "\x04\x01\x00\x50\x7f\x00\x00\x01\x00", "no method": "\x05\x00", "HTTP": "GET / HTTP/1.1\r\n\r\n",
		"wrong password": "\x05\x01\x02\x01\x04mole\x05guess", "long name": "\x05\x01\x02\x01\xff",
	} {
		c := soft(sends(t, reverse.address, ""), text)
		if name == "long name" { // it has only begun
			_ = c.Close()
			continue
		}
		if err := dropped(c); err != nil {
			t.Errorf("SOCKS %s: %v", name, err)
		}
	}
	if err := target.EchoMore(kept, small); err != nil {
		t.Errorf("a stream that was there: %v", err)
	}
	if err := target.Echo(p.open(t, target.Start(t)), small); err != nil {
		t.Errorf("a stream after that: %v", err)
	}
	if used := r.highWater(); used > 64<<20 && !raceDetector {
		t.Errorf("the relay used %d MiB", used>>20)
	}
}

// soft sends what may be refused while it is sent.
func soft(c net.Conn, text string) net.Conn {
	_, _ = io.WriteString(c, text)
	return c
}

// Who stops in the middle of a handshake is cut after 10 s, and 2000 who say
// nothing at all keep nobody from working meanwhile.
func TestTheSilentAreCutAfterTenSecondsWhileOthersWork(t *testing.T) {
	t.Parallel()
	r := newRelay(t)
	r.addForward(forwardToken)
	reverse := r.addReverse(reverseToken, nil)
	client := r.peer("client", forwardToken)
	up := fmt.Sprintf(upgradeRequest, "")
	begun := time.Now()
	slow := map[string]net.Conn{
		"half a header":        sends(t, r.address, "GET /socket HTTP/1.1\r\nHost: re"),
		"no first message":     sends(t, r.address, up),
		"half a first message": sends(t, r.address, up+clientFrame("\x01\x01\x05guess\x00" + strings.Repeat("\x01", 16))[:12]),
		"half a body":          sends(t, r.address, "POST /api/token HTTP/1.1\r\nHost: r\r\nX-API-Key: "+relayKey+"\r\nContent-Length: 50\r\n\r\n{"),
		"no SOCKS greeting":    sends(t, reverse.address, ""),
		"no SOCKS request":     sends(t, reverse.address, "\x05\x01\x00"),
		"none at the client":   sends(t, client.proxy.address, "\x05"),
		"nothing":              sends(t, r.address, ""),
	}
	before := r.highWater()
	var silent []net.Conn
	for range 2000 {
		silent = append(silent, sends(t, r.address, ""))
	}
	to := target.Start(t)
	for range 10 {
		if err := errors.Join(target.Echo(client.open(t, to), small), target.Download(client.open(t, to), small)); err != nil {
			t.Errorf("while others are silent: %v", err)
		}
	}
	if grown := (r.highWater() - before) / len(silent); grown > 16<<10 && !raceDetector {
		t.Errorf("a silent connection costs %d bytes", grown)
	}
	var ends sync.WaitGroup
	for name, c := range slow {
		ends.Go(func() {
			if err := dropped(c); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if took := time.Since(begun); took < 9*time.Second || took > 14*time.Second {
				t.Errorf("%s: ended after %v", name, took)
			}
		})
	}
	for _, c := range silent {
		ends.Go(func() {
			if err := dropped(c); err != nil {
				t.Errorf("a silent one: %v", err)
			}
		})
	}
	ends.Wait()
}
