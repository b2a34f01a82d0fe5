package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/client"
)

// callTimeout is above the 8 s in which a start answers.
const callTimeout = 15 * time.Second

// aditForward is a local forward in a running adit, which outlives its process.
type aditForward struct {
	control *client.Client // of the process that runs now
	token   api.Secret
	id      string
}

// startAdit runs adit serve and returns where its forward listens. The first
// time it makes the forward; later ones find it in the data directory, and it
// starts by itself.
func (f *forwardStage) startAdit(ctx context.Context, _ []string) ([]*process, string, error) {
	p, err := f.start("adit", f.tools.adit, "serve", "--data", filepath.Join(f.dir, "data"), "--listen", "127.0.0.1:0", "--relay-listen", "off")
	if err != nil {
		return nil, "", err
	}
	line, err := p.ready(ctx, "adit ready control=")
	if err != nil {
		return nil, "", err
	}
	base, _, _ := strings.Cut(line, " ")
	if f.forward.control, err = client.New(base, &http.Client{Timeout: callTimeout}); err != nil {
		return nil, "", err
	}
	f.forward.control = f.forward.control.WithToken(f.forward.token)
	if f.forward.id == "" {
		if err := f.makeForward(ctx); err != nil {
			return nil, "", err
		}
	}
	var listen string
	err = p.poll(ctx, func(ctx context.Context) error {
		listen, err = f.forward.listensAt(ctx)
		return err
	})
	return []*process{p}, viaPort(listen), err
}

// makeForward registers a user, and makes and starts a local forward to the target.
func (f *forwardStage) makeForward(ctx context.Context) error {
	forward := &f.forward
	account, err := forward.control.Register(ctx, api.Registration{
		Email: "bench@example.com", Username: "bench", Password: "correct horse battery staple",
	})
	if err != nil {
		return err
	}
	forward.token = account.Token
	forward.control = forward.control.WithToken(account.Token)
	host, text, err := net.SplitHostPort(f.target)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	made, err := forward.control.CreateForward(ctx, "", api.ForwardInput{
		Name: api.Some("bench"), Type: api.Some(api.ForwardLocal),
		RemoteHost: api.Some(host), RemotePort: api.Some(port),
		ServerAddress: api.Some(f.sshd.addr()), Username: api.Some(f.sshd.user),
		AuthType: api.Some("keyContent"), KeyContent: api.Some(api.Secret(f.sshd.keyPEM)),
	})
	if err != nil {
		return err
	}
	forward.id = made.ID
	_, err = forward.control.StartForward(ctx, forward.id)
	return err
}

// listensAt gives the forward's address; an error while it is not active.
func (f *aditForward) listensAt(ctx context.Context) (string, error) {
	st, err := f.control.ForwardStatus(ctx, f.id)
	switch {
	case err != nil:
		return "", err
	case st.IsActive && st.Effective != nil && st.Effective.BoundPort != nil:
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(*st.Effective.BoundPort)), nil
	case st.LastError != nil:
		return "", fmt.Errorf("the forward is %s: %s", st.State, st.LastError.Message)
	}
	return "", fmt.Errorf("the forward is %s", st.State)
}
