package peer

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/link/linksocks"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

func TestAtSocketTheHashOfTheTokenGoesIntoTheQuery(t *testing.T) {
	t.Parallel()
	hash := linksocks.HashToken(redact.New(secretText)).Reveal()
	nobody := linksocks.HashToken(redact.New(linksocks.Anonymous)).Reveal()
	tests := []struct {
		name  string
		path  string
		role  Role
		token string
		want  string // X for the instance
	}{
		{"client", "/socket", Client, secretText, "instance=X&reverse=false&token=" + hash},
		{"provider", "/socket", Provider, secretText, "instance=X&reverse=true&token=" + hash},
		{"connector", "/socket", Connector, secretText, "instance=X&reverse=false&token=" + hash},
		{"no token", "", Client, "", "instance=X&reverse=false&token=" + nobody},
		{"other keys", "/socket?zone=7&a=b&token=other", Client, secretText, "a=b&instance=X&reverse=false&token=" + hash + "&zone=7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := hostRelay(t)
			o := client(r)
			o.URL, o.Role, o.Token = r.url(tt.path), tt.role, redact.New(tt.token)
			p := start(t, o)
			<-r.up
			<-p.ready
			got := r.requests()[0]
			instance := got.Query().Get("instance")
			if id, err := uuid.Parse(instance); err != nil || id == uuid.Nil {
				t.Errorf("the instance is %q", instance)
			}
			if query := strings.Replace(got.RawQuery, instance, "X", 1); got.Path != "/socket" || query != tt.want {
				t.Errorf("asked for %s?%s, want /socket?%s", got.Path, query, tt.want)
			}
		})
	}
}

func TestElsewhereTheTokenIsTheFirstMessage(t *testing.T) {
	t.Parallel()
	for path, query := range map[string]string{"/socket/": "", "/other?zone=7": "zone=7"} {
		for _, role := range []Role{Client, Provider} {
			r := hostRelay(t)
			o := client(r)
			o.URL, o.Role = r.url(path), role
			p := start(t, o)
			<-r.up
			<-p.ready
			if got := r.requests()[0].RawQuery; got != query {
				t.Errorf("the query is %q, want %q", got, query)
			}
			auth := r.auths[0]
			if auth.Token.Reveal() != secretText || auth.Reverse != (role == Provider) || auth.Instance == uuid.Nil {
				t.Errorf("the first message is %+v", auth)
			}
		}
	}
}

func TestAllLinksOfAPeerHaveOneInstance(t *testing.T) {
	t.Parallel()
	r := hostRelay(t)
	o := client(r)
	o.Threads = 3
	p := start(t, o)
	for range 3 {
		<-r.up
	}
	<-p.ready
	seen := map[string]bool{}
	for _, u := range r.requests() {
		seen[u.Query().Get("instance")] = true
	}
	if len(seen) != 1 {
		t.Errorf("3 links have the instances %v", seen)
	}
}

func TestARefusedTokenEndsThePeer(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, token, cause, message, hint string
		role                              Role
	}{
		{"client", secretText, "invalid token", "authentication failed: invalid token", "forward token", Client},
		{"provider", secretText, "", "authentication failed", "reverse token", Provider},
		{"connector", secretText, "a\nb\x1b[2J", "authentication failed: a\ufffdb\ufffd[2J", "connector token", Connector},
		{"no token", "", "no", "authentication failed: no", "-t", Client},
		{"a relay that repeats the token", secretText, "unknown: " + secretText, "authentication failed: unknown: [redacted]", "forward token", Client},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := hostRelay(t)
			r.set(func(m *manner) { m.answer = linksocks.AuthResponse{Cause: tt.cause} })
			o := client(r)
			o.Role, o.Token = tt.role, redact.New(tt.token)
			p := start(t, o)
			<-p.ended
			e, ok := errors.AsType[*api.Error](p.err)
			if !ok || e.Code != api.CodeAuthFailed || e.Message != tt.message || !strings.Contains(e.Hint, tt.hint) {
				t.Errorf("ended with %#v", p.err)
			}
		})
	}
}

// inMemory runs a test in a bubble, with a relay and a client of it.
func inMemory(t *testing.T, test func(t *testing.T, n *memnet.Network, r *relay, o Options)) {
	synctest.Test(t, func(t *testing.T) {
		n := memnet.New()
		r := memRelay(t, n)
		test(t, n, r, memClient(r, n))
	})
}

func TestARefusedTokenIsTriedAgainWhenToldSo(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, _ *memnet.Network, r *relay, o Options) {
		r.set(func(m *manner) { m.answer = linksocks.AuthResponse{Cause: "invalid token"} })
		o.RetryAuth = true
		p := start(t, o)
		time.Sleep(5 * time.Minute)
		tries := len(r.requests())
		if tries < 10 || tries > 60 {
			t.Errorf("%d tries in 5 minutes", tries)
		}
		r.set(func(m *manner) { m.answer = linksocks.AuthResponse{OK: true} })
		<-p.ready
		if err := p.stop(); err != nil {
			t.Error(err)
		}
		if got := strings.Count(p.log.String(), "level=WARN"); got != tries && got != tries+1 {
			t.Errorf("%d warnings for %d tries:\n%s", got, tries, p.log)
		}
	})
}

func TestARelayThatGreetsWronglyIsTriedAgain(t *testing.T) {
	t.Parallel()
	for name, wrong := range map[string]func(*manner){
		"another message first": func(m *manner) { m.early = true },
		"not a word":            func(m *manner) { m.mute = true },
		"401":                   func(m *manner) { m.status = 401 },
		"403":                   func(m *manner) { m.status = 403 },
		"404":                   func(m *manner) { m.status = 404 },
		"503":                   func(m *manner) { m.status = 503 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inMemory(t, func(t *testing.T, _ *memnet.Network, r *relay, o Options) {
				right := r.manner
				r.set(wrong)
				p := start(t, o)
				time.Sleep(time.Minute)
				if tries := len(r.requests()); tries < 3 || tries > 40 {
					t.Errorf("%d tries in a minute", tries)
				}
				select {
				case <-p.ready:
					t.Fatal("ready without a link")
				default:
				}
				r.set(func(m *manner) { *m = right })
				began := time.Now()
				<-p.ready
				if took := time.Since(began); took > 41*time.Second {
					t.Errorf("back after %v", took)
				}
			})
		})
	}
}

func TestARelayMayAskForALongerPause(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, _ *memnet.Network, r *relay, o Options) {
		r.set(func(m *manner) { m.status, m.header = 503, [2]string{"Retry-After", "3600"} })
		start(t, o)
		time.Sleep(29 * time.Second)
		if got := len(r.requests()); got != 1 {
			t.Errorf("%d tries in 29 seconds", got)
		}
		time.Sleep(2 * time.Second)
		if got := len(r.requests()); got != 2 {
			t.Errorf("%d tries in 31 seconds: half a minute is the longest pause", got)
		}
	})
}

func TestARelayThatSaysNothingIsLeftAfterTenSeconds(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, _ *memnet.Network, r *relay, o Options) {
		r.set(func(m *manner) { m.mute = true })
		o.NoReconnect = true
		began := time.Now()
		p := start(t, o)
		<-p.ended
		e, ok := errors.AsType[*api.Error](p.err)
		if took := time.Since(began); !ok || e.Code != api.CodeTimeout || took != 10*time.Second {
			t.Errorf("ended after %v with %#v", took, p.err)
		}
	})
}

func TestWithoutReconnectAnUnreachableRelayIsTheEnd(t *testing.T) {
	t.Parallel()
	inMemory(t, func(t *testing.T, _ *memnet.Network, r *relay, o Options) {
		for code, change := range map[api.Code]func(*manner){
			api.CodeUnreachable: func(m *manner) { m.status = 503 },
			api.CodeAuthFailed:  func(m *manner) { *m = manner{answer: linksocks.AuthResponse{Cause: "no"}} },
		} {
			r.set(change)
			o.NoReconnect, o.RetryAuth = true, true
			p := start(t, o)
			<-p.ended
			if e, ok := errors.AsType[*api.Error](p.err); !ok || e.Code != code || strings.Contains(e.Message, "?") {
				t.Errorf("want %s, ended with %v", code, p.err)
			}
		}
		_ = r.ln.Close()
		p := start(t, o)
		<-p.ended
		if e, ok := errors.AsType[*api.Error](p.err); !ok || e.Code != api.CodeConnectRefused || !strings.Contains(e.Message, "ws://relay:80/socket") {
			t.Errorf("ended with %v", p.err)
		}
	})
}
