package forward

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/sshsite"
)

// maxConnections bounds what one tunnel carries at a time; more wait in the system's backlog.
const maxConnections = 8192

// door is a listener with its accept loop, for one run at a time. It outlives a
// run when the next one listens at the same place.
type door struct {
	ln      pipe.Listener
	conn    *sshsite.Conn // whose listener it is; nil: this machine's
	owner   atomic.Pointer[run]
	slots   chan struct{}
	closing chan struct{}
	once    sync.Once
	done    chan struct{} // closed when the accept loop has ended
}

func newDoor(ln pipe.Listener, conn *sshsite.Conn, owner *run) *door {
	d := &door{ln: ln, conn: conn, slots: make(chan struct{}, maxConnections), closing: make(chan struct{}), done: make(chan struct{})}
	d.owner.Store(owner)
	return d
}

// serve accepts until the door is closed or, on an SSH server, its connection lost.
func (d *door) serve() {
	defer close(d.done)
	var pause time.Duration
	for {
		select {
		case d.slots <- struct{}{}:
		case <-d.closing:
			return
		}
		c, err := d.ln.Accept()
		if err == nil {
			pause = 0
			d.owner.Load().admit(d, c)
			continue
		}
		<-d.slots
		if errors.Is(err, net.ErrClosed) {
			return
		}
		// Out of file descriptors, mostly: what is open goes on, and ends.
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		select {
		case <-time.After(pause):
		case <-d.closing:
			return
		}
	}
}

// close stops listening and waits for the accept loop.
func (d *door) close() {
	d.once.Do(func() {
		close(d.closing)
		d.ln.Close()
	})
	<-d.done
}

func (d *door) port() int {
	_, text, err := net.SplitHostPort(d.ln.Addr().String())
	if err != nil {
		return 0
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}
	return port
}

// listenHere opens spec's listener on this machine. With port 0 the last run's
// port is taken when it is free. Errors are *api.Error.
func (s *Supervisor) listenHere(ctx context.Context, spec *Spec) (pipe.Listener, error) {
	host, port, err := net.SplitHostPort(spec.Listen)
	if err != nil {
		return nil, &api.Error{Code: api.CodeListenDenied, Message: "listen " + spec.Listen + ": not an address", Err: err}
	}
	if port == "0" && spec.LastPort != 0 {
		last := net.JoinHostPort(host, strconv.Itoa(spec.LastPort))
		if ln, err := s.opts.Here.Listen(ctx, "tcp", last); err == nil {
			return ln, nil
		}
	}
	ln, err := s.opts.Here.Listen(ctx, "tcp", spec.Listen)
	if err != nil {
		return nil, s.listenError(spec, err)
	}
	return ln, nil
}

func (s *Supervisor) listenError(spec *Spec, err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		e := &api.Error{Code: api.CodeListenInUse, Err: err, Message: "listen " + spec.Listen + ": address already in use",
			Hint: "choose another port, or stop what listens there"}
		if by := s.listenerAt(spec); by != "" {
			e.Message += " by " + by
		}
		return e
	}
	e := &api.Error{Code: api.CodeListenDenied, Err: err, Hint: "choose an address of this machine and a port that adit may use"}
	switch {
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		e.Message = "listen " + spec.Listen + ": the system does not permit it"
		e.Hint = "ports below 1024 need a privilege; choose a higher one"
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		e.Message = "listen " + spec.Listen + ": this machine has no such address"
	default:
		e.Message = "listen " + spec.Listen + ": the system refuses the address"
	}
	return e
}

// listenerAt names what of ours listens on the port that spec wants.
func (s *Supervisor) listenerAt(spec *Spec) string {
	_, text, err := net.SplitHostPort(spec.Listen)
	if err != nil {
		return ""
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return ""
	}
	if name, ok := s.opts.OwnPorts[port]; ok {
		return name
	}
	for _, t := range s.all() {
		if name, taken := t.holdsPort(port); taken && t.id != spec.ID {
			return fmt.Sprintf("forward %q", name)
		}
	}
	return ""
}
