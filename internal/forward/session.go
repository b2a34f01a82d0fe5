package forward

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/site"
	"github.com/adit-tunnel/adit/internal/socks5"
	"github.com/adit-tunnel/adit/internal/sshsite"
)

const (
	// lineWait is how long a new connection waits for a line that is down.
	lineWait = 8 * time.Second
	// deliverTimeout bounds one dial of a target.
	deliverTimeout = 30 * time.Second
)

// session is one client's connection through a tunnel.
type session struct {
	mu    sync.Mutex // guards below
	conns []pipe.Conn
	over  bool
}

// add makes c part of the session; false when the session is over, and then c is reset.
func (s *session) add(c pipe.Conn) bool {
	s.mu.Lock()
	over := s.over
	if !over {
		s.conns = append(s.conns, c)
	}
	s.mu.Unlock()
	if over {
		pipe.Reset(c)
	}
	return !over
}

// reset ends both sides with an error.
func (s *session) reset() {
	s.mu.Lock()
	s.over = true
	conns := s.conns
	s.mu.Unlock()
	for _, c := range conns {
		pipe.Reset(c)
	}
}

// admit takes a connection that the door accepted. It does not block.
func (r *run) admit(d *door, c pipe.Conn) {
	s := new(session)
	s.add(c)
	r.mu.Lock()
	refuse := r.ended
	if !refuse {
		r.sessions[s] = struct{}{}
	}
	meter := r.meter
	r.mu.Unlock()
	if refuse {
		s.reset()
		<-d.slots
		return
	}
	r.sup.running.Go(func() {
		err := r.carry(s, c, meter)
		r.mu.Lock()
		delete(r.sessions, s)
		if r.ended && len(r.sessions) == 0 {
			r.broadcastLocked()
		}
		r.mu.Unlock()
		<-d.slots
		r.logEnd(err)
	})
}

// logEnd tells of what an operator may want to look into, and not of every peer that went away.
func (r *run) logEnd(err error) {
	if err != nil && !pipe.IsEnd(err) {
		r.log.Debug("connection ended with an error", "error", err)
	}
}

// carry delivers one connection and returns when it has ended.
func (r *run) carry(s *session, client pipe.Conn, meter *pipe.Meter) error {
	target, err := r.deliver(client)
	r.noteDelivery(err)
	if err != nil {
		s.reset()
		return err
	}
	if !s.add(target) {
		return net.ErrClosed
	}
	return pipe.Join(client, target, meter)
}

// noteDelivery keeps what a tunnel with a fixed target should tell: it is up, and
// yet nothing flows. Of a dynamic one each client is told itself.
func (r *run) noteDelivery(err error) {
	if r.spec.Type == Dynamic {
		return
	}
	var f *Failure
	if err != nil {
		f = &Failure{Message: site.ReasonOf(err).String(), At: time.Now()}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.st.State == Active { // else the state says why
		r.st.Undelivered = f
	}
}

// deliver connects to the target of the tunnel, or to the one that the SOCKS client asks for.
func (r *run) deliver(client pipe.Conn) (pipe.Conn, error) {
	if f := r.failure(); f != nil {
		return nil, errors.New(f.Message) // nobody need wait for what needs a person
	}
	switch r.spec.Type {
	case Remote:
		ctx, cancel := context.WithTimeout(r.ctx, deliverTimeout)
		defer cancel()
		return r.sup.opts.Here.Dial(ctx, "tcp", r.spec.Deliver)
	case Dynamic:
		return r.deliverSOCKS(client)
	}
	return r.dialRequested(r.ctx, "tcp", r.spec.Deliver) // asks again: settings change under a tunnel that runs
}

// failure is why the tunnel is Failed, or nil when it is not.
func (r *run) failure() *Failure {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.st.State != Failed {
		return nil
	}
	return r.st.LastError
}

// deliverSOCKS connects to what a SOCKS5 client asks for. BIND and UDP ASSOCIATE
// it is refused: an SSH server can do neither.
func (r *run) deliverSOCKS(client pipe.Conn) (pipe.Conn, error) {
	p := socks5.Proxy{
		Server: socks5.Server{Username: r.spec.SOCKSUsername, Password: r.spec.SOCKSPassword},
		Dial:   r.dialRequested,
	}
	return p.Connect(r.ctx, client)
}

// dialRequested leaves the context aside: dialThere bounds each of its steps.
func (r *run) dialRequested(_ context.Context, _, address string) (pipe.Conn, error) {
	host, port, err := splitPort(address)
	if err != nil {
		return nil, err
	}
	if err := r.sup.opts.Policy.CheckThere(host, port); err != nil {
		return nil, err
	}
	return r.dialThere(address)
}

// dialThere dials from the SSH server. It waits for a line that is down, and
// tries again with the next when the line is lost under it.
func (r *run) dialThere(target string) (pipe.Conn, error) {
	ctx, cancel := context.WithTimeout(r.ctx, lineWait)
	defer cancel()
	var lost *sshsite.Conn
	for {
		conn, err := r.awaitLine(ctx, lost)
		if err != nil {
			return nil, &site.DialError{Reason: site.NetworkUnreachable, Address: target, Err: err}
		}
		c, err := r.dialOver(conn, target)
		if codeOf(err) != api.CodeConnectionLost {
			return c, err
		}
		lost = conn
	}
}

func (r *run) dialOver(conn *sshsite.Conn, target string) (pipe.Conn, error) {
	ctx, cancel := context.WithTimeout(r.ctx, deliverTimeout)
	defer cancel()
	return conn.Dial(ctx, "tcp", target)
}

// awaitLine waits for a connection other than lost.
func (r *run) awaitLine(ctx context.Context, lost *sshsite.Conn) (*sshsite.Conn, error) {
	for {
		r.mu.Lock()
		conn, state, changed, failure, ended := r.conn, r.st.State, r.changed, r.st.LastError, r.ended
		r.mu.Unlock()
		switch {
		case ended:
			return nil, net.ErrClosed
		case conn != nil && conn != lost:
			return conn, nil
		case state == Failed:
			return nil, errors.New(failure.Message)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
