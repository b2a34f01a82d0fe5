package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/adit-tunnel/adit/api"
)

// callTimeout is above the 8 s in which a start answers.
const callTimeout = 15 * time.Second

// aditForward is a local forward in a running adit, which outlives its process.
type aditForward struct {
	control string // base URL of the control API of the process that runs now
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
	f.forward.control, _, _ = strings.Cut(line, " ")
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
	var account api.Registered
	err := forward.call(ctx, http.MethodPost, "/auth/register", &api.Registration{
		Email: "bench@example.com", Username: "bench", Password: "correct horse battery staple",
	}, &account)
	if err != nil {
		return err
	}
	forward.token = account.Token
	host, text, err := net.SplitHostPort(f.target)
	if err != nil {
		return err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return err
	}
	var made api.Forward
	err = forward.call(ctx, http.MethodPost, "/port-forwards", &api.ForwardInput{
		Name: api.Some("bench"), Type: api.Some(api.ForwardLocal),
		RemoteHost: api.Some(host), RemotePort: api.Some(port),
		ServerAddress: api.Some(f.sshd.addr()), Username: api.Some(f.sshd.user),
		AuthType: api.Some("keyContent"), KeyContent: api.Some(api.Secret(f.sshd.keyPEM)),
	}, &made)
	if err != nil {
		return err
	}
	forward.id = made.ID
	return forward.call(ctx, http.MethodPost, "/port-forwards/"+forward.id+"/start", nil, nil)
}

// listensAt gives the forward's address; an error while it is not active.
func (f *aditForward) listensAt(ctx context.Context) (string, error) {
	var st api.ForwardStatus
	if err := f.call(ctx, http.MethodGet, "/port-forwards/"+f.id+"/status", nil, &st); err != nil {
		return "", err
	}
	switch {
	case st.IsActive && st.Effective != nil && st.Effective.BoundPort != nil:
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(*st.Effective.BoundPort)), nil
	case st.LastError != nil:
		return "", fmt.Errorf("the forward is %s: %s", st.State, st.LastError.Message)
	}
	return "", fmt.Errorf("the forward is %s", st.State)
}

// call makes one call of the control API. body and answer may be nil.
func (f *aditForward) call(ctx context.Context, method, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var sent bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&sent).Encode(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, f.control+path, &sent)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if f.token != "" {
		req.Header.Set("Authorization", "Bearer "+string(f.token))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusBadRequest {
		var refused struct{ Message json.RawMessage }
		if err := json.NewDecoder(resp.Body).Decode(&refused); err != nil {
			return errors.Join(fmt.Errorf("%s %s: %s", method, path, resp.Status), err)
		}
		return fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, refused.Message)
	}
	if answer == nil {
		return nil
	}
	return json.NewDecoder(resp.Body).Decode(answer)
}
