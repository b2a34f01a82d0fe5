package sshserver

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/internal/redact"
)

// Handshake says what a client meets before it is logged in.
type Handshake int32

// The handshakes. One that hangs does so until the client or the server closes
// the connection: handshakeTimeout does not end it.
const (
	Behave            Handshake = iota
	CloseAtOnce                 // close right after accepting
	HangAtOnce                  // accept, and never say a word
	SpeakHTTP                   // answer as a web server, and close
	SpeakSMTP                   // greet as a mail server, and wait
	SpeakGarbage                // send bytes without sense, and close
	CloseAfterVersion           // send the version line, and close
	HangAfterVersion            // send the version line, then nothing: no key exchange
	HangInAuth                  // exchange keys, then answer no try to log in
)

// Faults makes a server misbehave, for tests. The zero value behaves, and so
// does nil. Everything may be changed while the server runs; a fault that is
// switched off leaves behind what it did: a request once ignored is never
// answered. One Faults belongs to one Server.
type Faults struct {
	handshake      atomic.Int32
	refuseChannels atomic.Bool
	ignoreChannels atomic.Bool
	refuseForwards atomic.Bool
	ignoreRequests atomic.Bool
	deaf           gate // shut: nothing is read
	hole           gate // shut: nothing is read or written

	mu         sync.Mutex // guards below
	conns      map[*faultConn]struct{}
	hostKeys   []ssh.Signer
	algorithms ssh.Algorithms
	password   *redact.Secret
	asked      []string
}

// SetHandshake chooses what later connections meet.
func (f *Faults) SetHandshake(h Handshake) { f.handshake.Store(int32(h)) }

// RefuseChannels refuses every channel that a client opens, as prohibited.
func (f *Faults) RefuseChannels(on bool) { f.refuseChannels.Store(on) }

// IgnoreChannels leaves every channel open of a client without an answer.
func (f *Faults) IgnoreChannels(on bool) { f.ignoreChannels.Store(on) }

// RefuseForwards refuses tcpip-forward.
func (f *Faults) RefuseForwards(on bool) { f.refuseForwards.Store(on) }

// IgnoreRequests leaves global requests without an answer: keepalives,
// tcpip-forward and its cancel.
func (f *Faults) IgnoreRequests(on bool) { f.ignoreRequests.Store(on) }

// StopReading stops reading from all connections, so that what clients write
// stalls once the sockets' buffers are full. Nothing is lost: off reads on.
func (f *Faults) StopReading(on bool) { f.deaf.set(on) }

// BlackHole stops reading and writing on all connections, as a network does
// that has gone away without a word. Nothing is lost: off goes on.
func (f *Faults) BlackHole(on bool) { f.hole.set(on) }

// DropAll ends all connections now, with a TCP reset.
func (f *Faults) DropAll() {
	for _, c := range f.open() {
		c.drop()
	}
}

// SetHostKeys gives later connections other host keys than the Config's; none restores those.
func (f *Faults) SetHostKeys(keys ...ssh.Signer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hostKeys = slices.Clone(keys)
}

// SetAlgorithms makes later connections offer only these key exchanges, ciphers
// and MACs; an empty list stands for the usual ones. With the cipher
// ssh.InsecureCipherRC4256 alone no client of today has an algorithm in common.
func (f *Faults) SetAlgorithms(a ssh.Algorithms) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.algorithms = a
}

// SetPassword makes this the accepted password, instead of the Config's.
func (f *Faults) SetPassword(password redact.Secret) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.password = &password
}

// AskedHostKeys gives the host key algorithms that the last client asked for,
// in its order of preference; nil before the first one.
func (f *Faults) AskedHostKeys() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.asked)
}

// greet plays a handshake that ends before SSH begins, and reports whether it did.
func (f *Faults) greet(w *wire) bool {
	if f == nil {
		return false
	}
	switch Handshake(f.handshake.Load()) {
	case CloseAtOnce:
	case HangAtOnce:
		hang(w)
	case SpeakHTTP:
		say(w, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n400 Bad Request")
	case SpeakSMTP:
		_, _ = w.Write([]byte("220 mail.example.org ESMTP ready\r\n"))
		hang(w)
	case SpeakGarbage:
		garbage := make([]byte, 4096)
		_, _ = rand.NewChaCha8([32]byte{1}).Read(garbage)
		say(w, string(garbage))
	case CloseAfterVersion:
		say(w, serverVersion+"\r\n")
	case HangAfterVersion:
		_, _ = w.Write([]byte(serverVersion + "\r\n"))
		hang(w)
	default:
		return false
	}
	return true
}

// configure changes what one handshake offers.
func (f *Faults) configure(cfg *ssh.ServerConfig, keys *[]ssh.Signer, w *wire) {
	if f == nil {
		return
	}
	if Handshake(f.handshake.Load()) == HangInAuth {
		// The banner is due before the first try is looked at, whatever its method.
		cfg.BannerCallback = func(ssh.ConnMetadata) string {
			_ = w.SetDeadline(time.Time{})
			<-w.gone // the library keeps reading meanwhile
			return ""
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.hostKeys) > 0 {
		*keys = f.hostKeys
	}
	cfg.KeyExchanges = f.algorithms.KeyExchanges
	cfg.Ciphers = f.algorithms.Ciphers
	cfg.MACs = f.algorithms.MACs
}

func (f *Faults) acceptedPassword() (redact.Secret, bool) {
	if f == nil {
		return redact.Secret{}, false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.password == nil {
		return redact.Secret{}, false
	}
	return *f.password, true
}

// channel reports whether a fault has taken the channel.
func (f *Faults) channel(nc ssh.NewChannel) bool {
	switch {
	case f == nil:
		return false
	case f.ignoreChannels.Load():
		return true
	case f.refuseChannels.Load():
		_ = nc.Reject(ssh.Prohibited, "open failed")
		return true
	}
	return false
}

// request reports whether a fault has taken the global request.
func (f *Faults) request(req *ssh.Request) bool {
	switch {
	case f == nil:
		return false
	case f.ignoreRequests.Load():
		return true
	case f.refuseForwards.Load() && req.Type == "tcpip-forward":
		_ = req.Reply(false, nil)
		return true
	}
	return false
}
