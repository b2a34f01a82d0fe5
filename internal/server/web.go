package server

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/adit-tunnel/adit/internal/httpapi"
	"github.com/adit-tunnel/adit/internal/telemetry"
)

const (
	headerTimeout = 10 * time.Second
	bodyTimeout   = 30 * time.Second
	answerTimeout = time.Minute // a start may take 8 s
	idleTimeout   = 2 * time.Minute
	maxHeader     = 32 << 10
	maxClients    = 1024 // connections at a time; more wait in the system's backlog
	// requestGrace is how long requests under way may take to end.
	requestGrace = time.Second
)

// web is the HTTP server of the control API.
type web struct {
	http     *http.Server
	cancel   context.CancelFunc // of all requests
	handlers sync.WaitGroup
}

func (s *Server) newWeb(ctx context.Context) *web {
	requests, cancel := context.WithCancel(context.WithoutCancel(ctx))
	w := &web{cancel: cancel}
	api := httpapi.New(s.app, httpapi.Options{
		Logger: s.log, Version: telemetry.ReadBuild().Version, Origins: s.cfg.CORSOrigins, TrustedProxies: s.cfg.TrustedProxies,
	})
	w.http = &http.Server{
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			w.handlers.Add(1)
			defer w.handlers.Done()
			api.ServeHTTP(rw, r)
		}),
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       bodyTimeout,
		WriteTimeout:      answerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		BaseContext:       func(net.Listener) context.Context { return requests },
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	return w
}

// stop takes no more requests, and returns when none is under way.
func (w *web) stop(ctx context.Context) {
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestGrace)
	defer cancel()
	if w.http.Shutdown(grace) != nil {
		w.cancel() // it waits for an SSH server, mostly
		w.http.Close()
	}
	w.handlers.Wait()
	w.cancel()
}

// limited is a listener with a bound on the connections that are open at a time.
type limited struct {
	net.Listener
	slots chan struct{}
	done  chan struct{}
	once  sync.Once
}

func limit(ln net.Listener, n int) net.Listener {
	return &limited{Listener: ln, slots: make(chan struct{}, n), done: make(chan struct{})}
}

func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.slots <- struct{}{}:
	case <-l.done:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &limitedConn{Conn: c, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

func (l *limited) Close() error {
	l.once.Do(func() { close(l.done) })
	return l.Listener.Close()
}

// limitedConn gives its slot back when it is closed.
type limitedConn struct {
	net.Conn
	release func()
}

func (c *limitedConn) Close() error {
	c.release()
	return c.Conn.Close()
}
