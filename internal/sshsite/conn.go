// Package sshsite is an SSH server as a site: connections leave from it by
// direct-tcpip channels and arrive at it by tcpip-forward (RFC 4254, section 7).
// It dials, checks host keys, logs in, keeps the connection alive and says how
// it ended. Reconnecting is the work of package forward.
package sshsite

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/api"
)

const (
	// keepaliveInterval is how long a connection may be silent before it is asked.
	keepaliveInterval = 15 * time.Second
	// keepaliveTimeout is how long it may then stay silent before it is dead.
	keepaliveTimeout = 20 * time.Second
)

// Conn is one authenticated SSH connection. It is a site.Site.
//
// Invariants:
//
//  1. A channel that ends because the connection was lost ends with an error, never with EOF.
//  2. Nothing that a channel or a stuck request does closes the connection.
//  3. After Close returns no goroutine of the connection runs on.
type Conn struct {
	id     string
	t      *transport
	client ssh.Conn

	ctx     context.Context // ends with the connection
	cancel  context.CancelFunc
	done    chan struct{} // closed when the connection has ended
	lost    error         // why; read it after done
	running sync.WaitGroup

	rejects chan struct{} // slots for rejections under way

	mu        sync.Mutex // guards below
	closed    bool       // Close was called
	listeners map[*listener]struct{}
}

func newConn(ctx context.Context, t *transport, client ssh.Conn, channels <-chan ssh.NewChannel, requests <-chan *ssh.Request) *Conn {
	c := &Conn{id: uuid.NewString(), t: t, client: client, done: make(chan struct{}), rejects: make(chan struct{}, maxRejects), listeners: map[*listener]struct{}{}}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx)) // dialling is over; the connection lives on
	c.running.Go(func() { ssh.DiscardRequests(requests) })
	c.running.Go(func() { c.routeChannels(channels) })
	c.running.Go(c.watch)
	c.running.Go(c.keepalive)
	return c
}

// ID names this connection, for people and logs.
func (c *Conn) ID() string { return c.id }

// Done is closed when the connection has ended, by loss or by Close.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Err says why the connection ended, once Done is closed: an *api.Error with
// CodeConnectionLost, or nil after Close.
func (c *Conn) Err() error {
	<-c.done
	return c.lost
}

// Close ends the connection and all that it carries, and waits for its goroutines.
func (c *Conn) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.t.Close() // before the SSH layer, where a stuck write may hold a lock
	c.client.Close()
	c.running.Wait()
}

// spawn runs f in a goroutine that Close waits for; false after Close.
func (c *Conn) spawn(f func()) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.running.Go(f)
	}
	return !c.closed
}

// watch waits for the end of the connection and finds out why it came.
func (c *Conn) watch() {
	err := c.waitSSH()
	fault := c.t.fault()
	c.t.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.lost = lostError(c.t.RemoteAddr().String(), fault, err)
	}
	close(c.done)
	c.cancel()
}

// endTimeout is how long the SSH layer may take to end after its TCP connection.
const endTimeout = time.Second

// errStuck is an SSH layer that did not.
var errStuck = errors.New("the SSH layer does not end")

// waitSSH returns when the SSH layer has ended, or soon after the TCP connection
// has: after a protocol error with packets queued behind it, the library waits
// for itself for ever.
func (c *Conn) waitSSH() error {
	ended := make(chan error, 1)
	go func() { ended <- c.client.Wait() }()
	select {
	case err := <-ended:
		return err
	case <-c.t.gone:
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(endTimeout):
		return errStuck
	}
}

// errSilent is the fault of a connection that did not answer a keepalive.
var errSilent = errors.New("no answer to a keepalive")

func lostError(address string, fault, err error) error {
	how := "it was closed by the server"
	switch {
	case errors.Is(fault, errSilent):
		how = fmt.Sprintf("nothing came for %v", keepaliveInterval+keepaliveTimeout)
	case errors.Is(fault, os.ErrDeadlineExceeded):
		how = fmt.Sprintf("it took no bytes for %v", writeTimeout)
	case fault == nil:
		how = "the server ended it"
	}
	return &api.Error{Code: api.CodeConnectionLost, Err: errors.Join(fault, err),
		Message: fmt.Sprintf("the connection to SSH server %s was lost: %s", address, how),
		Hint:    "it is tried again by itself; if this repeats, look into the server's log and the network between"}
}

// keepalive asks a silent server whether it lives, and cuts the connection when no byte comes.
func (c *Conn) keepalive() {
	timer := time.NewTimer(keepaliveInterval)
	defer timer.Stop()
	var asked time.Time // zero when a byte has come since
	var asking atomic.Bool
	for {
		select {
		case <-c.done:
			return
		case <-timer.C:
		}
		now, last := time.Now(), c.t.lastByte()
		switch {
		case last.Before(asked): // not even once since the request
			if now.Sub(asked) >= keepaliveTimeout {
				c.t.fail(errSilent)
				c.t.Close()
				return
			}
			timer.Reset(asked.Add(keepaliveTimeout).Sub(now))
		case now.Sub(last) < keepaliveInterval:
			asked = time.Time{}
			timer.Reset(last.Add(keepaliveInterval).Sub(now))
		default:
			asked = now
			c.ask(&asking)
			timer.Reset(keepaliveInterval)
		}
	}
}

// ask sends a request whose answer is a sign of life. A server that still owes
// an answer is not asked again: the SSH layer has one request in flight at a
// time. Then only other bytes count.
func (c *Conn) ask(asking *atomic.Bool) {
	if !asking.CompareAndSwap(false, true) {
		return
	}
	c.running.Go(func() {
		defer asking.Store(false)
		// Refused or not, it is an answer.
		_, _, _ = c.client.SendRequest("keepalive@openssh.com", true, nil)
	})
}

// request sends a global request and waits for its answer as long as ctx
// allows. When ctx ends first and the answer is yes after all, undo is called.
// ok is false when the server refused.
func (c *Conn) request(ctx context.Context, name string, payload []byte, undo func(reply []byte)) (ok bool, reply []byte, err error) {
	type answer struct {
		ok    bool
		reply []byte
		err   error
	}
	answers := make(chan answer)
	started := c.spawn(func() {
		ok, reply, err := c.client.SendRequest(name, true, payload)
		select {
		case answers <- answer{ok, reply, err}:
		case <-ctx.Done():
			if ok && undo != nil {
				undo(reply)
			}
		}
	})
	if !started {
		return false, nil, c.ended(net.ErrClosed)
	}
	select {
	case a := <-answers:
		if a.err != nil {
			return false, nil, c.ended(a.err)
		}
		return a.ok, a.reply, nil
	case <-ctx.Done():
		return false, nil, context.Cause(ctx)
	}
}

// ended explains an error of the SSH layer that means that the connection is gone.
func (c *Conn) ended(err error) error {
	select {
	case <-c.done:
		if c.lost != nil {
			return c.lost
		}
	default:
	}
	return &api.Error{Code: api.CodeConnectionLost, Err: err,
		Message: fmt.Sprintf("the connection to SSH server %s was lost", c.t.RemoteAddr())}
}
