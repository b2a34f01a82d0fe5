package forward

import (
	"errors"
	"math/rand/v2"
	"time"

	"github.com/adit-tunnel/adit/api"
)

const (
	minBackoff = 500 * time.Millisecond
	maxBackoff = 30 * time.Second
	// stableAfter is how long a connection must live for the next loss to count as the first.
	stableAfter = time.Minute
)

// slowPace is for what retrying cannot mend by itself: a person has to do
// something, and until then tries only fill logs and lock accounts.
var slowPace = []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute, time.Hour}

// pace says when to try again. The zero value is ready.
type pace struct {
	fast, slow int // tries so far
}

// next is the time until the next try: exponential with full jitter, or slow.
func (p *pace) next(slow bool) time.Duration {
	if slow {
		d := slowPace[min(p.slow, len(slowPace)-1)]
		p.slow++
		return d
	}
	limit := maxBackoff
	if p.fast < 6 {
		limit = min(limit, minBackoff<<p.fast)
	}
	p.fast++
	return rand.N(limit) + 1
}

func (p *pace) reset() { *p = pace{} }

// cannotHelp reports whether a person has to act before a retry can succeed:
// the credentials, the host key or the listen address are refused.
func cannotHelp(err error) bool {
	switch codeOf(err) {
	case api.CodeAuthFailed, api.CodeHostKeyChanged, api.CodeHostKeyUnknown, api.CodeCredentialsMissing,
		api.CodeListenInUse, api.CodeListenDenied, api.CodeTargetDenied, api.CodeRemoteListenRefused:
		return true
	}
	return false
}

func codeOf(err error) api.Code {
	var e *api.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return api.CodeInternal
}

// failureOf is what a person is shown of err.
func failureOf(err error) *Failure {
	var e *api.Error
	if !errors.As(err, &e) {
		e = &api.Error{Code: api.CodeInternal, Message: "internal error"}
	}
	return &Failure{Code: e.Code, Message: e.Message, Hint: e.Hint, At: time.Now()}
}
