package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/redact"
)

// The account and the rows of the demo; ids like these can stand in paths.
const (
	userName = "demo"
	email    = "demo@example.com"

	serverID  = "demo"
	localID   = "web"
	dynamicID = "socks"
	remoteID  = "back"
)

// portTries is how many ports are tried for a forward, each of which was free a
// moment before.
const portTries = 10

// furnished is what furnish made.
type furnished struct {
	password, token        api.Secret
	local, dynamic, remote string // host:port where each forward listens
}

// furnish registers the account and makes and starts its forwards, by the
// control API at url.
func furnish(ctx context.Context, url string, login sshLogin, pageAt int) (made furnished, err error) {
	c, err := newCaller(url)
	if err != nil {
		return made, err
	}
	defer c.close()
	made.password = api.Secret(newPassword().Reveal())
	if made.token, err = c.register(ctx, made.password); err != nil {
		return made, err
	}
	if err = c.addServer(ctx, login); err != nil {
		return made, err
	}
	if made.local, err = c.open(ctx, api.ForwardInput{
		LocalID: api.Some(localID), Name: api.Some("The page behind the SSH server"), Type: api.Some(api.ForwardLocal),
		RemoteHost: api.Some(pageHost), RemotePort: api.Some(pagePort), ServerID: api.Some(serverID),
	}); err != nil {
		return made, err
	}
	if made.dynamic, err = c.openAtFreePort(ctx, api.ForwardInput{
		LocalID: api.Some(dynamicID), Name: api.Some("SOCKS proxy"), Type: api.Some(api.ForwardDynamic),
		ServerID: api.Some(serverID),
	}); err != nil {
		return made, err
	}
	made.remote, err = c.openAtFreePort(ctx, api.ForwardInput{
		LocalID: api.Some(remoteID), Name: api.Some("The way back from the SSH server"), Type: api.Some(api.ForwardRemote),
		LocalHost: api.Some("127.0.0.1"), LocalPort: api.Some(pageAt), ServerID: api.Some(serverID),
	})
	return made, err
}

func (c *caller) register(ctx context.Context, password api.Secret) (token api.Secret, err error) {
	answer, err := c.Register(ctx, api.Registration{Email: email, Username: userName, Password: password})
	c.as(answer.Token)
	return answer.Token, err
}

func (c *caller) addServer(ctx context.Context, login sshLogin) error {
	_, err := c.CreateServer(ctx, "", api.ServerInput{
		LocalID: api.Some(serverID), Name: api.Some("The demo's SSH server"),
		Host: api.Some("127.0.0.1"), Port: api.Some(login.port), Username: api.Some(login.user),
		AuthType: api.Some(api.AuthPassword), Password: api.Some(api.Secret(login.password.Reveal())),
	})
	return err
}

// open makes a forward, starts it, and returns where it listens.
func (c *caller) open(ctx context.Context, in api.ForwardInput) (address string, err error) {
	f, err := c.CreateForward(ctx, "", in)
	if err != nil {
		return "", err
	}
	return c.start(ctx, f.ID)
}

// openAtFreePort is open for the types that do not let the system pick the port
// they listen on.
func (c *caller) openAtFreePort(ctx context.Context, in api.ForwardInput) (address string, err error) {
	var f api.Forward
	for range portTries {
		if err = c.setPort(ctx, &in); err != nil {
			return "", err
		}
		if f.ID == "" {
			f, err = c.CreateForward(ctx, "", in)
		} else {
			f, err = c.UpdateForward(ctx, f.ID, in)
		}
		if err != nil {
			return "", err
		}
		if address, err = c.start(ctx, f.ID); !taken(err) {
			break
		}
	}
	return address, err
}

// setPort makes a forward listen on a free port. The SSH server's ports are
// this machine's, too.
func (c *caller) setPort(ctx context.Context, in *api.ForwardInput) error {
	port, err := c.freePort(ctx)
	if kind, _ := in.Type.Get(); kind == api.ForwardRemote {
		in.RemotePort = api.Some(port)
	} else {
		in.BindPort = api.Some(port)
	}
	return err
}

// freePort finds a port that is free now; somebody may take it before it is used.
func freePort(ctx context.Context) (int, error) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", anyPort)
	if err != nil {
		return 0, err
	}
	return portOf(ln), ln.Close()
}

func taken(err error) bool {
	e, ok := errors.AsType[*api.Error](err)
	return ok && (e.Code == api.CodeListenInUse || e.Code == api.CodeRemoteListenRefused)
}

// start answers once traffic can flow.
func (c *caller) start(ctx context.Context, id string) (address string, err error) {
	f, err := c.StartForward(ctx, id)
	if err != nil {
		return "", err
	}
	if f.Effective == nil || f.Effective.BoundPort == nil {
		return "", fmt.Errorf("port forward %q is active and listens nowhere", f.Name)
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(*f.Effective.BoundPort)), nil
}

// newPassword makes a password of 26 letters and digits.
func newPassword() redact.Secret { return redact.New(rand.Text()) }
