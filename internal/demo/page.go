package demo

import (
	"context"
	_ "embed"
	"errors"
	"html/template"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// pageHost is a name that only the SSH server knows; the top-level domain
	// is reserved for private use.
	pageHost = "web.internal"
	pagePort = 80

	pageTimeout = 10 * time.Second // of a request's header, and of an answer
	pageHeader  = 16 << 10
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// page is the web page behind the SSH server. It tells its reader how he came
// to it.
type page struct {
	ln  net.Listener
	log *slog.Logger

	mu      sync.Mutex      // guards below
	fromSSH map[string]bool // the clients' addresses of connections that the SSH server opened
}

// openPage makes a page that listens on a port of its own.
func openPage(ctx context.Context, log *slog.Logger) (*page, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", anyPort)
	if err != nil {
		return nil, err
	}
	return &page{ln: ln, log: log, fromSSH: map[string]bool{}}, nil
}

func (p *page) port() int { return portOf(p.ln) }

// serve answers until ctx ends, and returns when no connection is left.
func (p *page) serve(ctx context.Context) error {
	var conns sync.WaitGroup
	web := &http.Server{
		Handler: p, ReadHeaderTimeout: pageTimeout, WriteTimeout: pageTimeout, IdleTimeout: time.Minute,
		MaxHeaderBytes: pageHeader, ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
		ConnState: func(c net.Conn, state http.ConnState) {
			switch state {
			case http.StateNew:
				conns.Add(1)
			case http.StateClosed:
				p.forget(c.RemoteAddr().String())
				conns.Done()
			}
		},
	}
	defer context.AfterFunc(ctx, func() { _ = web.Close() })()
	err := web.Serve(p.ln)
	conns.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// dialFromSSH is how the SSH server connects to anything: as this machine does,
// but that it knows the page by name. Nobody can reach more through the demo's
// SOCKS proxy than he could from this machine without it.
func (p *page) dialFromSSH(ctx context.Context, network, address string) (net.Conn, error) {
	if strings.EqualFold(address, net.JoinHostPort(pageHost, strconv.Itoa(pagePort))) {
		address = p.ln.Addr().String()
	}
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil && c.RemoteAddr().String() == p.ln.Addr().String() {
		// No byte of a request goes out before we return: who answers it
		// finds the connection noted.
		p.note(c.LocalAddr().String())
	}
	return c, err
}

func (p *page) note(client string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fromSSH[client] = true
}

func (p *page) forget(client string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.fromSSH, client)
}

// The ways to the page.
const (
	wayThere  = "there"  // adit took the connection, the SSH server opened the page
	wayBack   = "back"   // the SSH server took it, adit opened the page
	wayDirect = "direct" // no tunnel
)

// way tells how a request came. What adit delivers cannot be told from a direct
// connection, but its client asked for another port than the page's.
func (p *page) way(r *http.Request) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fromSSH[r.RemoteAddr] {
		return wayThere
	}
	if _, port, err := net.SplitHostPort(r.Host); err == nil && port == strconv.Itoa(p.port()) {
		return wayDirect
	}
	return wayBack
}

// ServeHTTP answers every path with the page.
func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	// An error means that the client is gone.
	_ = pageTemplate.Execute(w, struct{ Way, Request, Host, Time string }{
		Way: p.way(r), Request: r.Method + " " + r.URL.RequestURI(), Host: r.Host,
		Time: time.Now().UTC().Format("2006-01-02 15:04:05.000 UTC"),
	})
}
