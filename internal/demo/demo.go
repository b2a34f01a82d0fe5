// Package demo is `adit demo`: a server with an account, an SSH server of its
// own, a small web page that only the SSH server's side knows, and three
// forwards to and from it. It makes all of them through the HTTP API, as any
// user would, and tells what to try. Nothing of it is left behind, and nothing
// that was there before is touched.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/internal/config"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/server"
	"github.com/adit-tunnel/adit/internal/sshserver"
)

const (
	anyPort = "127.0.0.1:0"
	// usualAddress is where `adit serve` listens by default, and so what the
	// examples of the documentation say.
	usualAddress = "127.0.0.1:3000"
)

// Run runs the demo until ctx ends, and then returns nil. What to try is
// written to out in one piece, once all of it works; it shows the demo's own
// password and token. When Run returns, with an error too, everything has
// stopped and the data directory is gone.
func Run(ctx context.Context, out io.Writer, logger *slog.Logger) error {
	dir, err := os.MkdirTemp("", "adit-demo-")
	if err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	d := demo{dir: dir, out: out, log: logger}
	err = d.run(ctx)
	if removeErr := os.RemoveAll(dir); removeErr != nil {
		err = errors.Join(err, fmt.Errorf("remove the data directory: %w", removeErr))
	}
	if err == nil {
		// Where that cannot be written, there is nobody left to tell.
		_, _ = fmt.Fprintln(out, "\nStopped, and all of it removed.")
	}
	return err
}

type demo struct {
	dir string
	out io.Writer
	log *slog.Logger
}

// run starts the parts, each before those that reach it, and stops them in the
// opposite order.
func (d *demo) run(ctx context.Context) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	parts := parts{onEnd: cancel}
	defer func() {
		if ctx.Err() != nil {
			err = nil // told to stop; or a part ended, and stop says of what
		}
		err = errors.Join(err, parts.stop())
	}()

	page, err := openPage(ctx, d.log)
	if err != nil {
		return fmt.Errorf("open the web page: %w", err)
	}
	parts.start(ctx, "web page", page.serve)

	login, err := d.startSSH(ctx, &parts, page)
	if err != nil {
		return fmt.Errorf("open the SSH server: %w", err)
	}
	url, err := d.startServer(ctx, &parts)
	if err != nil {
		return fmt.Errorf("open the server: %w", err)
	}
	made, err := furnish(ctx, url, login, page.port())
	if err != nil {
		return err
	}
	if err := d.tell(url, made); err != nil {
		return fmt.Errorf("write what to try: %w", err)
	}
	<-ctx.Done()
	return nil
}

// sshLogin is how the SSH server is logged in to.
type sshLogin struct {
	port     int
	user     string
	password redact.Secret
}

func (d *demo) startSSH(ctx context.Context, parts *parts, page *page) (sshLogin, error) {
	login := sshLogin{user: userName, password: newPassword()}
	key, err := sshserver.GenerateHostKey()
	if err != nil {
		return login, err
	}
	s, err := sshserver.New(sshserver.Config{
		HostKeys: []ssh.Signer{key}, User: login.user, Password: login.password, Dial: page.dialFromSSH, Logger: d.log,
	})
	if err != nil {
		return login, err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", anyPort)
	if err != nil {
		return login, err
	}
	login.port = portOf(ln)
	parts.start(ctx, "SSH server", func(ctx context.Context) error { return s.Serve(ctx, ln) })
	return login, nil
}

// startServer returns where the control API is, once it answers.
func (d *demo) startServer(ctx context.Context, parts *parts) (url string, err error) {
	s, err := d.openServer(ctx, usualAddress)
	if _, taken := errors.AsType[*net.OpError](err); taken {
		s, err = d.openServer(ctx, anyPort)
	}
	if err != nil {
		return "", err
	}
	ready := make(chan struct{})
	parts.start(ctx, "server", func(ctx context.Context) error {
		return s.Serve(ctx, func() error {
			close(ready)
			return nil
		})
	})
	select {
	case <-ready:
		return s.URL(), nil
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// openServer opens a server that has nothing but the defaults: no settings of
// the user's reach it.
func (d *demo) openServer(ctx context.Context, address string) (*server.Server, error) {
	cfg, err := config.Load(config.Input{
		Flags: map[string][]string{
			"data":         {d.dir},
			"listen":       {address},
			"relay-listen": {config.Off},
			"drain":        {"0s"}, // a browser that keeps its connection must not hold up Ctrl-C
		},
		Env: func(string) string { return "" },
	})
	if err != nil {
		return nil, err
	}
	return server.Open(ctx, cfg, d.log, io.Discard)
}

func portOf(ln net.Listener) int { return ln.Addr().(*net.TCPAddr).Port }
