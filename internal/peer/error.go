package peer

import (
	"errors"
	"syscall"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/site"
)

// final is the error with which a link that ended, or was not made, ends the
// peer; nil when it is to be tried again. wasUp tells the two apart.
func (p *peer) final(err error, wasUp bool) error {
	refused, ok := errors.AsType[*refusal](err)
	switch {
	case ok && (!p.o.RetryAuth || p.o.NoReconnect):
		return p.authError(refused)
	case !p.o.NoReconnect:
		return nil
	case wasUp:
		return &api.Error{Code: api.CodeConnectionLost, Message: "the link to the relay " + p.shown + " was lost: " + p.clean(err.Error()), Err: err}
	}
	return &api.Error{
		Code: unreachable(err), Message: "no link to the relay " + p.shown + ": " + p.clean(err.Error()), Err: err,
		Hint: "check the relay's URL, and that the relay runs and can be reached from here",
	}
}

// unreachable is the code of a relay that could not be reached.
func unreachable(err error) api.Code {
	if errors.Is(err, errNoAnswer) {
		return api.CodeTimeout
	}
	switch site.ReasonOf(err) {
	case site.Refused:
		return api.CodeConnectRefused
	case site.NameNotFound:
		return api.CodeNameNotFound
	case site.TimedOut:
		return api.CodeTimeout
	}
	return api.CodeUnreachable
}

func (p *peer) authError(refused *refusal) error {
	e := &api.Error{Code: api.CodeAuthFailed, Message: refused.Error(), Err: refused}
	switch {
	case p.o.Token.IsZero():
		e.Hint = "no token was given, and this relay wants one: give it with -t"
	case p.o.Role == Provider:
		e.Hint = "check the token: the relay must know it, as a reverse token, since this is a provider"
	case p.o.Role == Connector:
		e.Hint = "check the token: the relay must know it, as a connector token, since this is a connector"
	default:
		e.Hint = "check the token: the relay must know it, as a forward token, since this is a client"
	}
	return e
}

// listenError is a SOCKS port that cannot be opened.
func listenError(err error) error {
	if _, ok := errors.AsType[*api.Error](err); ok {
		return err
	}
	e := &api.Error{Code: api.CodeListenDenied, Message: "open the SOCKS port: " + err.Error(), Err: err,
		Hint: "choose an address of this machine and a port that adit may use, with -s and -p"}
	if errors.Is(err, syscall.EADDRINUSE) {
		e.Code, e.Hint = api.CodeListenInUse, "choose another port with -p, or stop what listens there"
	}
	return e
}
