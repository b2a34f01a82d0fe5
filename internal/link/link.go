// Package link is one authenticated WebSocket between the relay and a peer, as
// both ends see it, whatever dialect they speak on it.
package link

import (
	"context"
	"errors"
	"time"

	"github.com/adit-tunnel/adit/internal/pipe"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/site"
)

const (
	// WriteTimeout is how long a peer may take nothing of what it is sent,
	// before its link is given up.
	WriteTimeout = 30 * time.Second
	// PingInterval is how often every peer is asked for a sign of life.
	PingInterval = 10 * time.Second
	// DeadAfter is how long a link that is read may bring nothing.
	DeadAfter = 30 * time.Second
	// CheckInterval is how often is looked at what may have ended.
	CheckInterval = 2 * time.Second
	// DialTimeout bounds a dial for the peer, if Config says nothing.
	DialTimeout = 10 * time.Second
	// AnswerTimeout is how long the peer may take to answer a DialEarly.
	AnswerTimeout = 15 * time.Second
	// UDPIdle is how long an association lives without a datagram, if Config
	// says nothing.
	UDPIdle = 2 * time.Minute
	// MaxChannels is how many streams and associations the peer may have open.
	MaxChannels = 16384
)

// Why links and streams end, beside what the network says.
var (
	// ErrDead ends a link whose peer gave no sign of life.
	ErrDead = errors.New("the peer gave no sign of life")
	// ErrStuck ends a link whose peer does not take what it is sent.
	ErrStuck = errors.New("the peer takes no messages")
	// ErrLost ends the streams of a link that ended.
	ErrLost = errors.New("the link was lost")
	// ErrBehind refuses a stream whose way on from the peer was lost, or takes no
	// more. Opened again it may find another way.
	ErrBehind = errors.New("the link behind the relay was lost")
	// ErrNoProvider refuses a stream that a provider would have to serve.
	ErrNoProvider = errors.New("no provider is connected")
	// ErrAborted ends a stream that the peer gave up.
	ErrAborted = errors.New("the peer gave the stream up")
	// ErrUnanswered ends a stream to whose opening the peer said nothing.
	ErrUnanswered = errors.New("the peer does not answer")
)

// Why the peer is refused.
var (
	ErrNotServed   = errors.New("this peer may not open connections")
	ErrNoDatagrams = errors.New("no datagrams are exchanged for this peer")
	ErrTooMany     = errors.New("too many connections on this link")
	ErrDraining    = errors.New("about to end")
	ErrNoHost      = errors.New("no host")
	ErrNoPort      = errors.New("no port")
)

// A Session is one link, on either end. It carries streams and associations
// that this end opens, and serves those that the peer opens.
type Session interface {
	// Run serves the link until it ends or ctx does, and returns why. When it
	// returns, nothing of the session runs on and every stream has ended, but
	// for those that this end opened and whose peer had said all.
	Run(ctx context.Context) error
	// Dial opens a stream to address, as the peer sees it, and waits for the
	// peer's word. The error is a *site.DialError; that of a link which ended, or
	// takes no more, wraps ErrLost.
	Dial(ctx context.Context, network, address string) (pipe.Conn, error)
	// DialEarly is Dial that does not wait: the stream is a site.Pending.
	DialEarly(ctx context.Context, network, address string) (pipe.Conn, error)
	// Associate opens an association in the peer's network.
	Associate(ctx context.Context) (site.Association, error)
	// Manage asks the relay to add a connector token, of its own choice if it is
	// zero, or to remove one. The error is a *RefusedError, or wraps ErrLost.
	Manage(ctx context.Context, w Wish) (redact.Secret, error)
	// TellPartners tells the peer how many there are on the other side.
	TellPartners(n int)
	// Drain takes nothing that the peer opens from now on. What is open goes on.
	Drain()
	// Close ends the link; Run returns. Shut lets the peer know first, if it
	// takes that within a second.
	Close()
	Shut()
	// Done is closed when the link has ended.
	Done() <-chan struct{}
	// Silence is how long the link has been read in vain.
	Silence() time.Duration
	// Streams is how many streams and associations are open.
	Streams() int
}

// Wish is a provider's about a connector token.
type Wish struct {
	Remove bool
	Token  redact.Secret
}

// RefusedError is what the relay says to a wish that it does not fulfil.
type RefusedError struct{ Text string }

func (e *RefusedError) Error() string { return "the relay says " + e.Text }

// Config is what a Session is told about its peer and its surroundings.
type Config struct {
	// Dial connects to what the peer asks for. nil refuses everything: a
	// provider has nothing to ask for. What it gives may be a site.Pending.
	Dial func(ctx context.Context, network, address string) (pipe.Conn, error)
	// Accept takes streams that the peer opens in place of Dial: take is called
	// with the stream, which is open then, and must not block; or the error is
	// the peer's answer. nil has Dial asked.
	Accept func(address string) (take func(pipe.Conn), err error)
	// DialTimeout bounds Dial. 0 means the constant of that name.
	DialTimeout time.Duration
	// UDP exchanges datagrams for the peer. nil refuses.
	UDP site.Associator
	// UDPIdle ends an association that brought no datagram for so long. 0 means
	// the constant of that name.
	UDPIdle time.Duration

	// Manage fulfils a provider's wish, or says why not, by calling answer once,
	// at once or later. It runs on the reading goroutine and must not block. nil
	// refuses.
	Manage func(w Wish, answer func(added redact.Secret, refusal string))
	// Log, Partners and GoAway are told of what the peer says. They run on the
	// reading goroutine and must not block. They may be nil.
	Log      func(level, text string)
	Partners func(n int)
	GoAway   func()
	// Count is told of what an operator wants to see counted, as one of a few
	// fixed words. It may be nil.
	Count func(event string)
	// Meter counts the bytes of streams that the peer opened. It may be nil.
	Meter *pipe.Meter
}

// Complete puts the defaults where nothing was said.
func (c *Config) Complete() {
	if c.DialTimeout == 0 {
		c.DialTimeout = DialTimeout
	}
	if c.UDPIdle == 0 {
		c.UDPIdle = UDPIdle
	}
	if c.Manage == nil {
		c.Manage = func(_ Wish, answer func(redact.Secret, string)) {
			answer(redact.Secret{}, "Unauthorized connector management attempt")
		}
	}
	if c.Log == nil {
		c.Log = func(string, string) {}
	}
	if c.Partners == nil {
		c.Partners = func(int) {}
	}
	if c.GoAway == nil {
		c.GoAway = func() {}
	}
	if c.Count == nil {
		c.Count = func(string) {}
	}
}

// Refuse says why what the peer would open is not: host and port are empty for
// an association. draining and open are the session's.
func (c *Config) Refuse(udp bool, host string, port uint16, draining bool, open int) error {
	switch {
	case udp && c.UDP == nil:
		return &site.DialError{Reason: site.Denied, Address: "udp", Err: ErrNoDatagrams}
	case !udp && c.Dial == nil && c.Accept == nil:
		return &site.DialError{Reason: site.Denied, Address: host, Err: ErrNotServed}
	case !udp && host == "": // which package net takes for this machine
		return ErrNoHost
	case !udp && port == 0:
		return ErrNoPort
	case draining:
		return ErrDraining
	case open >= MaxChannels:
		return ErrTooMany
	}
	return nil
}
