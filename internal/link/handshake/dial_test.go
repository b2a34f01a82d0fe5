package handshake

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	coder "github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"

	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

// A site's Dial fits; so does a proxy's, which has the same type.
var _ = Dialer{NetDial: new(site.Here).Dial}

func TestDialTalksToGorilla(t *testing.T) {
	t.Parallel()
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		up := gorilla.Upgrader{EnableCompression: true, Subprotocols: []string{"adit.1"}}
		g, err := up.Upgrade(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer g.Close()
		for {
			op, got, err := g.ReadMessage()
			if err != nil {
				return
			}
			g.WriteMessage(op, got)
		}
	})
	d := Dialer{Subprotocols: []string{"adit.2", "adit.1"}}
	c, subprotocol, err := d.Dial(t.Context(), u, ws.Config{})
	if err != nil || subprotocol != "adit.1" {
		t.Fatal(subprotocol, err)
	}
	talks(t, c)
}

func TestDialTalksToCoder(t *testing.T) {
	t.Parallel()
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		g, err := coder.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer g.CloseNow()
		g.SetReadLimit(-1)
		for {
			op, got, err := g.Read(r.Context())
			if err != nil {
				return
			}
			g.Write(r.Context(), op, got)
		}
	})
	c, subprotocol, err := new(Dialer).Dial(t.Context(), u, ws.Config{})
	if err != nil || subprotocol != "" {
		t.Fatal(subprotocol, err)
	}
	talks(t, c)
}

func TestDialTalksToAccept(t *testing.T) {
	t.Parallel()
	handler, end := echoing(t, "adit.1")
	c, subprotocol, err := (&Dialer{Subprotocols: []string{"adit.1"}}).Dial(t.Context(), serve(t, handler), ws.Config{})
	if err != nil || subprotocol != "adit.1" {
		t.Fatal(subprotocol, err)
	}
	talks(t, c)
	if err := <-end; err == nil {
		t.Error("it goes on")
	}
}

// The request is the stock client's: see the relay's log for what it knows of one.
func TestDialAsksAsStockClientsDo(t *testing.T) {
	t.Parallel()
	asked := make(chan *http.Request, 1)
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- r
		http.Error(w, "", http.StatusServiceUnavailable)
	})
	new(Dialer).Dial(t.Context(), u, ws.Config{})
	r := <-asked
	if r.RequestURI != "/socket?token="+secret || r.Host != u.Host {
		t.Errorf("asked %s for %s", r.Host, r.RequestURI)
	}
	if r.Header.Get("Sec-Websocket-Key") == "" {
		t.Error("no key")
	}
	r.Header.Del("Sec-Websocket-Key")
	want := map[string]string{"User-Agent": "Go-http-client/1.1", "Connection": "Upgrade", "Upgrade": "websocket", "Sec-Websocket-Version": "13"}
	for name, value := range want {
		if got := r.Header.Get(name); got != value {
			t.Errorf("%s: %q", name, got)
		}
		r.Header.Del(name)
	}
	if len(r.Header) > 0 {
		t.Errorf("it sends %v too", r.Header)
	}
}

// secureServer is a relay behind TLS that would rather speak HTTP/2.
func secureServer(t *testing.T, handler http.HandlerFunc) (u *url.URL, cas *x509.CertPool) {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.EnableHTTP2 = true
	s.Config.ErrorLog = quiet
	s.StartTLS()
	t.Cleanup(s.Close)
	cas = x509.NewCertPool()
	cas.AddCert(s.Certificate())
	return wsURL(t, s.URL), cas
}

func TestDialTalksToAcceptOverTLS(t *testing.T) {
	t.Parallel()
	handler, end := echoing(t)
	u, cas := secureServer(t, handler)
	cfg := &tls.Config{RootCAs: cas, NextProtos: []string{"h2"}}
	c, _, err := (&Dialer{TLS: cfg}).Dial(t.Context(), u, ws.Config{})
	if err != nil {
		t.Fatal(err)
	}
	talks(t, c)
	if err := <-end; err == nil {
		t.Error("it goes on")
	}
}

func TestAnUntrustedRelayIsToldFromOneWithoutTLS(t *testing.T) {
	t.Parallel()
	never := func(http.ResponseWriter, *http.Request) { t.Error("it was asked") }
	u, cas := secureServer(t, never)
	var secure *TLSError
	_, _, err := new(Dialer).Dial(t.Context(), u, ws.Config{})
	discreet(t, err, "the certificate of relay "+u.Host+" is not trusted: x509: certificate signed by unknown authority")
	if !errors.As(err, &secure) || !secure.Untrusted() {
		t.Errorf("%#v", err)
	}
	_, _, err = (&Dialer{TLS: &tls.Config{RootCAs: cas, ServerName: "relay.test"}}).Dial(t.Context(), u, ws.Config{})
	discreet(t, err, "not relay.test")
	plain := serve(t, never)
	plain.Scheme = "wss"
	_, _, err = new(Dialer).Dial(t.Context(), plain, ws.Config{})
	discreet(t, err, "relay "+plain.Host+" does not speak TLS: if it has none, write ws://"+plain.Host)
	if !errors.As(err, &secure) || secure.Untrusted() {
		t.Errorf("%#v", err)
	}
}

func TestDialFollowsRedirectsVerbatim(t *testing.T) {
	t.Parallel()
	asked := make(chan string, 10)
	headers := make(chan http.Header, 10)
	echo, _ := echoing(t)
	record := func(host string, r *http.Request) {
		asked <- host + r.RequestURI
		headers <- r.Header
	}
	last := serve(t, func(w http.ResponseWriter, r *http.Request) {
		record("last", r)
		echo(w, r)
	})
	first := serve(t, func(w http.ResponseWriter, r *http.Request) {
		record("first", r)
		switch r.URL.Path {
		case "/socket":
			w.Header().Set("Location", "/a?b=c")
			w.WriteHeader(http.StatusMovedPermanently)
		case "/a":
			w.Header().Set("Location", "d")
			w.WriteHeader(http.StatusPermanentRedirect)
		default:
			w.Header().Set("Location", "http://"+last.Host+"/e/?f=%67#h")
			w.WriteHeader(http.StatusTemporaryRedirect)
		}
	})
	d := Dialer{Header: http.Header{"Authorization": {"Bearer " + secret}, "X-Kept": {"a"}}}
	c, _, err := d.Dial(t.Context(), first, ws.Config{})
	if err != nil {
		t.Fatal(err)
	}
	talks(t, c)
	for _, want := range []string{"first/socket?token=" + secret, "first/a?b=c", "first/d", "last/e/?f=%67"} {
		h := <-headers
		if got := <-asked; got != want {
			t.Errorf("it asked %s, want %s", got, want)
		}
		if h.Get("X-Kept") != "a" || (h.Get("Authorization") != "") != strings.HasPrefix(want, "first") {
			t.Errorf("%s was sent %v", want, h)
		}
	}
	if d.Header.Get("Authorization") == "" {
		t.Error("the caller's header was changed")
	}
}

func TestFiveRedirectsAreFollowedAndNotSix(t *testing.T) {
	t.Parallel()
	echo, _ := echoing(t)
	left := 5
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if left--; left < 0 {
			echo(w, r)
			return
		}
		w.Header().Set("Location", "?token="+secret)
		w.WriteHeader(http.StatusFound)
	})
	c, _, err := new(Dialer).Dial(t.Context(), u, ws.Config{})
	if err != nil {
		t.Fatal(err)
	}
	talks(t, c)
	left = 6
	_, _, err = new(Dialer).Dial(t.Context(), u, ws.Config{})
	discreet(t, err, "more than 5 times")
	if !errors.Is(err, ErrTooManyRedirects) || left != 0 {
		t.Errorf("%v, with %d left", err, left)
	}
}

func TestRedirectsThatAreNotFollowed(t *testing.T) {
	t.Parallel()
	var location string
	u, cas := secureServer(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", location)
		w.WriteHeader(http.StatusFound)
	})
	d := Dialer{TLS: &tls.Config{RootCAs: cas}}
	for _, c := range []struct{ location, want string }{
		{"ws://" + u.Host + "/?" + secret, "unencrypted ws"},
		{"http://" + u.Host + "/?" + secret, "unencrypted ws"},
		{"ftp://" + u.Host + "/?" + secret, `scheme "ftp"`},
		{"https://ann:" + secret + "@" + u.Host, "user or password"},
		{"https://" + u.Host + ":" + secret, "no URL"},
		{"", "relay answered 302 Found"},
	} {
		location = c.location
		_, _, err := d.Dial(t.Context(), u, ws.Config{})
		discreet(t, err, c.want)
		if downgrade := strings.Contains(c.want, "unencrypted"); errors.Is(err, ErrDowngrade) != downgrade {
			t.Errorf("%s: %v", c.location, err)
		}
	}
}

func TestARelayThatCannotBeReachedIsNamed(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(nil)
	s.Close()
	u := wsURL(t, s.URL)
	_, _, err := new(Dialer).Dial(t.Context(), u, ws.Config{})
	discreet(t, err, "connect to relay "+u.Host+": ")
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Error(err)
	}
	for _, bad := range []string{"ftp://a/?" + secret, "ws://u:" + secret + "@a", "ws:///" + secret} {
		u, err := url.Parse(bad)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = new(Dialer).Dial(t.Context(), u, ws.Config{})
		discreet(t, err, "relay URL ")
	}
}

// silentRelay takes connections and says nothing.
func silentRelay(t *testing.T) *Dialer {
	t.Helper()
	n := memnet.New()
	ln, err := n.Listen("relay")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				io.Copy(io.Discard, c)
				c.Close()
			}()
		}
	}()
	return &Dialer{NetDial: func(ctx context.Context, _, _ string) (pipe.Conn, error) { return n.Dial(ctx, "relay") }}
}

func TestASilentRelayIsGivenUpAfterTenSeconds(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"ws", "wss"} {
		synctest.Test(t, func(t *testing.T) {
			d := silentRelay(t)
			u := &url.URL{Scheme: scheme, Host: "relay.example", RawQuery: "token=" + secret}
			start := time.Now()
			_, _, err := d.Dial(t.Context(), u, ws.Config{})
			discreet(t, err, "connect to relay relay.example:")
			if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != hopTimeout {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
		})
	}
}

func TestADialEndsWithItsContext(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"ws", "wss"} {
		synctest.Test(t, func(t *testing.T) {
			d := silentRelay(t)
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			start := time.Now()
			_, _, err := d.Dial(ctx, &url.URL{Scheme: scheme, Host: "relay.example"}, ws.Config{})
			if !errors.Is(err, context.Canceled) || time.Since(start) != time.Second {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
		})
	}
}

// The context and the ten seconds are for the handshake alone.
func TestAConnectionOutlivesItsHandshake(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := new(Dialer)
		n := memnet.New()
		d.NetDial = func(context.Context, string, string) (pipe.Conn, error) {
			near, far := n.Pair()
			go func() {
				defer far.Close()
				r, err := http.ReadRequest(bufio.NewReader(far))
				if err != nil {
					t.Error(err)
					return
				}
				io.WriteString(far, strings.ReplaceAll(switching, "KEY", acceptKey(r))+"\r\n")
				time.Sleep(time.Hour) // the bubble's clock
				io.WriteString(far, "\x82\x04late")
			}()
			return near, nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		c, _, err := d.Dial(ctx, &url.URL{Scheme: "ws", Host: "relay.example"}, ws.Config{})
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if _, got, err := c.ReadMessage(nil); err != nil || string(got) != "late" {
			t.Errorf("%q, %v", got, err)
		}
		c.Close()
	})
}
