package proxy

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/site"
)

const (
	connectHead = "CONNECT t.remote:80 HTTP/1.1\r\nHost: t.remote:80\r\n"
	established = "HTTP/1.1 200 Connection established\r\n"
)

func TestCONNECTConnectsAndKeepsTheTargetsFirstBytes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ login, target, request, answer string }{
		{"", "t.remote:80", connectHead + "\r\n", established + "\r\n"},
		{"ann:s3cret@", "t.remote:80", connectHead + "Proxy-Authorization: Basic YW5uOnMzY3JldA==\r\n\r\n", "HTTP/1.0 200\r\n\r\n"},
		{"", "[2001:db8::1]:443", "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n", "HTTP/1.1 299 OK\nA: b\n\n"},
		// A 2xx to CONNECT has no body, whatever its fields say (RFC 9110, section 9.3.6).
		{"", "t.remote:80", connectHead + "\r\n", established + "Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{"", "t.remote:80", connectHead + "\r\n", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\n" + established + "\r\n"},
		{"", "t.remote:80", connectHead + "\r\n", established + "A: " + strings.Repeat("b", 15<<10) + "\r\n\r\n"},
	} {
		p := parse(t, "http://"+c.login+scripted(t, turn{c.request, c.answer + "\r\n220 ready\r\n"}))
		conn, err := p.Dial(t.Context(), "tcp4", c.target)
		if err != nil {
			t.Errorf("%s: %v", c.target, err)
			continue
		}
		if _, ok := conn.(*net.TCPConn); !ok {
			t.Errorf("the stream is wrapped in a %T", conn)
		}
		usable(t, conn, "\r\n220 ready\r\n")
	}
}

// secureProxy is a scripted proxy behind TLS, and the authority that it is from.
func secureProxy(t *testing.T, turns ...turn) (address string, ca *x509.CertPool) {
	t.Helper()
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	cert, ca := s.TLS.Certificates[0], x509.NewCertPool()
	ca.AddCert(s.Certificate())
	s.Close()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { ln.Close(); <-done })
	go func() {
		defer close(done)
		c, err := ln.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(20 * time.Second))
		if c.(*tls.Conn).Handshake() == nil {
			play(t, c, turns)
		}
	}()
	return ln.Addr().String(), ca
}

func TestCONNECTOverTLSHalfClosesToo(t *testing.T) {
	t.Parallel()
	addr, ca := secureProxy(t, turn{connectHead + "\r\n", established + "\r\n220 ready"})
	p := parse(t, "https://"+addr)
	p.TLS = &tls.Config{RootCAs: ca, NextProtos: []string{"h2"}}
	conn, err := p.Dial(t.Context(), "tcp", "t.remote:80")
	if err != nil {
		t.Fatal(err)
	}
	if got := conn.(*tls.Conn).ConnectionState().NegotiatedProtocol; got != "http/1.1" {
		t.Errorf("the protocol is %q", got)
	}
	usable(t, conn, "220 ready")
}

func TestAProxyWhoseCertificateIsNotTrustedIsNotSpokenTo(t *testing.T) {
	t.Parallel()
	addr, _ := secureProxy(t)
	_, err := parse(t, "https://ann:s3cret@"+addr).Dial(t.Context(), "tcp", "t.remote:80")
	failed(t, "unknown authority", err, site.NetworkUnreachable)
	if !strings.Contains(err.Error(), "unknown authority") {
		t.Error(err)
	}
}

func TestHTTPStatusesHaveTheirReasons(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		login, status string
		want          site.Reason
		text          string
	}{
		{"", "403 No", site.Denied, "it answered 403 Forbidden"},
		{"", "502", site.HostUnreachable, "502 Bad Gateway"},
		{"", "503 a", site.HostUnreachable, "503 Service Unavailable"},
		{"", "504 a", site.TimedOut, "504 Gateway Timeout"},
		{"", "407 a", site.Other, "wants credentials"},
		{"ann:s3cret@", "407 a", site.Other, "refused the credentials"},
		{"", "500 200 OK", site.Other, "500 Internal Server Error"},
		{"", "101 a", site.Other, "101 Switching Protocols"},
		{"", "302 a", site.Other, "302 Found"},
		{"", "999 a", site.Other, "it answered 999"},
	} {
		body := "\r\nX: HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
		addr := scripted(t, turn{connectHead, "HTTP/1.1 " + c.status + body})
		_, err := parse(t, "http://"+c.login+addr).Dial(t.Context(), "tcp", "t.remote:80")
		failed(t, c.status, err, c.want)
		if !strings.Contains(err.Error(), c.text) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v", c.status, err)
		}
	}
}

func TestWhatIsNoHTTPAnswerIsRefusedAtItsFirstLine(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"SSH-2.0-OpenSSH_9.9\r\n":                 "does not speak HTTP/1",
		"200 OK\r\n":                              "does not speak HTTP/1",
		"HTTP/2 200 OK\r\n":                       "does not speak HTTP/1",
		"HTTP/1.1 2000 OK\r\n":                    "does not speak HTTP/1",
		"HTTP/1.1 20 OK\r\n":                      "does not speak HTTP/1",
		"HTTP/1.1 099 OK\r\n":                     "does not speak HTTP/1",
		"HTTP/1.1  200 OK\r\n":                    "does not speak HTTP/1",
		"\r\nHTTP/1.1 200 OK\r\n\r\n":             "does not speak HTTP/1",
		"HTTP/1.1 200 OK\r\nA: b\r\n":             "closed the connection",
		"":                                        "closed the connection",
		established + strings.Repeat("a", 17<<10): "longer than 16384 bytes",
		strings.Repeat("HTTP/1.1 100 C\r\n\r\n", 1000) + established + "\r\n": "longer than 16384 bytes",
	} {
		err := parse(t, "http://p.example").askHTTP(&script{in: bytes.NewReader([]byte(in))}, target{host: "t.remote", port: 80})
		if err == nil || !strings.Contains(err.Error(), want) || reasonOf(err) != site.Other {
			t.Errorf("%.40q: %v", in, err)
		}
	}
}

func FuzzCONNECTReply(f *testing.F) {
	f.Add([]byte(established + "\r\n220 ready"))
	f.Add([]byte("HTTP/1.1 100 C\r\nA: b\r\n\r\n" + established + "\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		c := &script{in: bytes.NewReader(in)}
		err := parse(t, "http://p.example").askHTTP(c, target{host: "t.remote", port: 80})
		used := len(in) - c.in.Len()
		if used > maxHead {
			t.Errorf("%d bytes were read", used)
		}
		if err != nil {
			if strings.ContainsAny(err.Error(), "\r\n\x00") {
				t.Errorf("the proxy's bytes are in %q", err)
			}
			return
		}
		if !bytes.HasSuffix(in[:used], []byte("\n\n")) && !bytes.HasSuffix(in[:used], []byte("\n\r\n")) {
			t.Errorf("%q is taken for a head", in[:used])
		}
		if status, rest, ok := byNetHTTP(in); ok && (status/100 != 2 || rest != len(in)-used) {
			t.Errorf("%q: net/http reads status %d and leaves %d bytes, we leave %d", in, status, rest, len(in)-used)
		}
	})
}

// byNetHTTP reads what askHTTP reads, where the fields make sense too.
func byNetHTTP(in []byte) (status, rest int, ok bool) {
	src := bytes.NewReader(in)
	r := bufio.NewReader(src)
	for {
		answer, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
		if err != nil {
			return 0, 0, false
		}
		if answer.StatusCode >= 200 || answer.StatusCode == http.StatusSwitchingProtocols {
			return answer.StatusCode, r.Buffered() + src.Len(), true
		}
	}
}
