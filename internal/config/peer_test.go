package config

import (
	"log/slog"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/redact"
)

func peerOf(t *testing.T, role Role, variables map[string]string, flags ...string) Peer {
	t.Helper()
	got, err := LoadPeer(role, input(flagTexts(flags...), variables))
	if err != nil {
		t.Fatalf("%s %q, %q: %v", role, flags, variables, err)
	}
	return got
}

func wantPeerProblems(t *testing.T, role Role, in Input, want ...string) {
	t.Helper()
	_, err := LoadPeer(role, in)
	wantLines(t, "problems", problemsOf(t, err), want...)
}

func TestPeerOfNothingGivesTheDefaults(t *testing.T) {
	t.Parallel()
	for _, role := range []Role{RoleClient, RoleProvider, RoleConnector} {
		want := Peer{
			Role: role, URL: "ws://localhost:8765/socket", SOCKSHost: "127.0.0.1", SOCKSPort: 9870, Dialect: DialectAuto,
			Threads: 1, UDPIdle: 2 * time.Minute, LogFormat: FormatText,
		}
		// It takes no file: a server's, beside it, is not for it.
		if got := peerOf(t, role, map[string]string{"ADIT_CONFIG": "/nowhere"}); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v\nwant %+v", role, got, want)
		}
	}
}

func TestPeerSetsEveryFieldFromEverySource(t *testing.T) {
	t.Parallel()
	values := map[string]string{
		"token": "t0ken", "url": "https://relay.example/way", "reverse": "true", "connector-token": "c0nnect",
		"socks-host": "localhost", "socks-port": "0", "socks-username": "user", "socks-password": "pa55", "socks-no-wait": "yes",
		"no-reconnect": "1", "retry-auth": "TRUE", "debug": "true", "threads": "3", "upstream-proxy": "http://proxy:3128",
		"relay-proxy": "https://u:p@[2001:db8::1]:3129", "fast-open": "true", "no-env-proxy": "true", "ca": "/etc/ca.pem",
		"allow": "10.0.0.0/8", "deny": "10.0.0.1,*:25", "udp-idle": "1s", "log-level": "warn", "log-format": "json", "direct-mode": "relay-only", "dialect": "linksocks",
	}
	want := Peer{
		Role: RoleProvider, URL: "wss://relay.example/way", Token: redact.New("t0ken"), FastOpen: true,
		SOCKSHost: "localhost", SOCKSPort: 0, SOCKSUsername: "user", SOCKSPassword: redact.New("pa55"), SOCKSNoWait: true,
		ConnectorToken: redact.New("c0nnect"), UpstreamProxy: redact.New("http://proxy:3128"),
		Allow: []string{"10.0.0.0/8"}, Deny: []string{"10.0.0.1", "*:25"},
		RelayProxy: redact.New("https://u:p@[2001:db8::1]:3129"), NoEnvProxy: true, CA: "/etc/ca.pem",
		Dialect: DialectLinksocks, NoReconnect: true, RetryAuth: true, Threads: 3, UDPIdle: time.Second, LogLevel: slog.LevelDebug, LogFormat: FormatJSON,
	}
	for source, in := range sources(t, PeerSettings(), values) {
		got, err := LoadPeer(RoleClient, in)
		if err == nil && len(got.Notes) != 5 { // of the SOCKS settings, which a provider has no use for
			t.Errorf("%s: notes %q", source, got.Notes)
		}
		if got.Notes = nil; err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v\nwant %+v", source, got, err, want)
		}
	}
}

func TestReverseDecidesTheRole(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		role  Role
		flags string
		want  Role
	}{
		{RoleClient, "reverse", RoleProvider},
		{RoleClient, "reverse connector-token=c", RoleProvider},
		{RoleClient, "reverse=false", RoleClient},
		{RoleClient, "reverse reverse=no", RoleClient},
		{RoleProvider, "reverse connector-token=c", RoleProvider},
		{RoleConnector, "reverse=0", RoleConnector},
	} {
		if got := peerOf(t, tt.role, nil, strings.Fields(tt.flags)...); got.Role != tt.want || got.Notes != nil {
			t.Errorf("%s %s: %s, notes %q, want %s", tt.role, tt.flags, got.Role, got.Notes, tt.want)
		}
	}
	wantPeerProblems(t, RoleConnector, input(flagTexts("reverse"), nil),
		"flag --reverse: a connector does not lend its network: use adit relay provider")
	wantPeerProblems(t, RoleProvider, input(nil, map[string]string{"ADIT_REVERSE": "false"}),
		"variable ADIT_REVERSE: a provider lends its network: use adit relay client")
}

func TestOnlyAProviderAddsAConnectorToken(t *testing.T) {
	t.Parallel()
	file := write(t, "token", "c0nnect")
	wantPeerProblems(t, RoleClient, input(flagTexts("connector-token-file="+file), nil),
		"flag --connector-token-file: is what a provider adds: give --reverse too, or leave it out")
	wantPeerProblems(t, RoleConnector, input(nil, map[string]string{"LINKSOCKS_CONNECTOR_TOKEN": "c"}),
		"variable LINKSOCKS_CONNECTOR_TOKEN: is what a provider adds: a connector's own token is --token")
}

func TestAPeerNotesWhatIsAnotherRoles(t *testing.T) {
	t.Parallel()
	wantLines(t, "client", peerOf(t, RoleClient, nil, "upstream-proxy=http://p", "allow=*", "deny=10.0.0.1", "socks-port=1").Notes,
		"flag --upstream-proxy: has no effect: a client dials no targets, a provider does",
		"flag --allow: has no effect: a client dials no targets, a provider does",
		"flag --deny: has no effect: a client dials no targets, a provider does")
	wantLines(t, "provider", peerOf(t, RoleProvider, map[string]string{"LINKSOCKS_SOCKS_PORT": "1"}, "allow=*").Notes,
		"variable LINKSOCKS_SOCKS_PORT: has no effect: a provider opens no SOCKS port")
}

func TestDirectModeIsTakenAsFarAsItCanBe(t *testing.T) {
	t.Parallel()
	why := ": has no effect: direct mode is not offered yet, everything goes through the relay"
	wantLines(t, "auto", peerOf(t, RoleClient, nil, "direct-mode=auto").Notes, "flag --direct-mode"+why)
	wantLines(t, "relay-only", peerOf(t, RoleClient, nil, "direct-mode=relay-only").Notes)
	wantPeerProblems(t, RoleClient, input(flagTexts("direct-mode=direct-only"), nil),
		"flag --direct-mode: direct-only cannot be had: direct mode is not offered yet")
	wantPeerProblems(t, RoleClient, input(flagTexts("direct-mode=on"), nil),
		`flag --direct-mode: "on" is not one of relay-only, auto, direct-only`)
	got := peerOf(t, RoleClient, nil, "direct-discovery=stun", "direct-host-candidates=auto", "stun-server=a:1", "stun-server=b:1",
		"direct-only-action=exit", "direct-upnp", "direct-upnp-lease=30m", "direct-upnp-keep", "direct-upnp-external-port=0", "buffer-size=1")
	wantLines(t, "the rest", got.Notes,
		"flag --direct-discovery"+why, "flag --direct-host-candidates"+why, "flag --stun-server"+why, "flag --direct-only-action"+why,
		"flag --direct-upnp"+why, "flag --direct-upnp-lease"+why, "flag --direct-upnp-keep"+why, "flag --direct-upnp-external-port"+why,
		"flag --buffer-size: has no effect: adit sizes its buffers by itself")
}

func TestThreadsAreOneOrMoreAndBounded(t *testing.T) {
	t.Parallel()
	cpus := runtime.NumCPU()
	most := 100 * cpus
	for text, want := range map[string]int{
		"0": 1, "1": 1, "2": 2, "-1": cpus, "-9": cpus, strconv.Itoa(most): most, strconv.Itoa(most + 1): most,
		"99999999999999999999": most, "-99999999999999999999": cpus,
	} {
		if got := peerOf(t, RoleClient, nil, "threads="+text); got.Threads != want {
			t.Errorf("--threads %s: %d, want %d", text, got.Threads, want)
		}
	}
	wantPeerProblems(t, RoleClient, input(flagTexts("threads=many"), nil), `flag --threads: "many" is not a whole number`)
}

func TestDebugIsDebugHoweverOften(t *testing.T) {
	t.Parallel()
	for flags, want := range map[string]slog.Level{
		"debug": slog.LevelDebug, "debug debug": slog.LevelDebug, "debug=3 log-level=error": slog.LevelDebug,
		"debug=0": slog.LevelInfo, "debug=false log-level=error": slog.LevelError,
	} {
		if got := peerOf(t, RoleClient, nil, strings.Fields(flags)...); got.LogLevel != want {
			t.Errorf("%s: %s, want %s", flags, got.LogLevel, want)
		}
	}
}

func TestARelaysURLIsMadeWhole(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"relay.example": "wss://relay.example/socket", "localhost:8765": "wss://localhost:8765/socket", "http://a": "ws://a/socket", "https://a/": "wss://a/socket",
		"ws://[::1]:1/socket/": "ws://[::1]:1/socket/", "WSS://a/b?c=d#e": "wss://a/b?c=d",
	} {
		if got := peerOf(t, RoleClient, nil, "url="+text); got.URL != want {
			t.Errorf("%s: %s, want %s", text, got.URL, want)
		}
	}
	for text, want := range map[string]string{
		"ftp://a":         "has a scheme that is not one of ws, wss, http, https",
		"ws://u:s3cret@a": "holds a user name, which a relay does not ask for: give its token as --token",
		"ws://":           "is no URL of a relay: write ws://host:port or wss://host",
		"ws://a:0":        "is no URL of a relay: write ws://host:port or wss://host",
		"ws://a:65536":    "is no URL of a relay: write ws://host:port or wss://host",
		"::1:8765":        "is no URL of a relay: write ws://host:port or wss://host",
		"ws://s3cret%zz":  "is no URL of a relay: write ws://host:port or wss://host",
	} {
		wantPeerProblems(t, RoleClient, input(flagTexts("url="+text), nil), "flag --url: "+want)
	}
}

func TestAPeerNeverRepeatsASecret(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("s3cret", 50)
	for name, values := range map[string][]string{
		"token": {long}, "connector-token": {long}, "socks-password": {long},
		"upstream-proxy": {"s3cret", "u:s3cret@proxy:1", "ftp://u:s3cret@proxy", "socks5://u:s3cret@", "http://u:s3cret%zz@p", "http://u:s3cret@p:x",
			"socks5://u:" + long + "@p", "socks5h://" + long + "@p", "socks5://p:0"},
		"relay-proxy": {"u:s3cret@proxy:1"},
	} {
		for _, value := range values {
			for source, in := range map[string]Input{
				"flag":     input(map[string][]string{"reverse": {"true"}, name: {value}}, nil),
				"variable": input(map[string][]string{"reverse": {"true"}}, map[string]string{variable(name): value}),
				"file":     input(map[string][]string{"reverse": {"true"}, name + "-file": {write(t, "secret", value)}}, nil),
			} {
				_, err := LoadPeer(RoleClient, in)
				got := problemsOf(t, err)
				if len(got) != 1 || strings.Contains(got[0], "s3cret") {
					t.Errorf("%s of %s: %q", name, source, got)
				}
			}
		}
	}
	long = strings.Repeat("u", 255)
	got := peerOf(t, RoleClient, nil, "token="+long, "socks-username="+long, "socks-password="+long, "relay-proxy=socks5://"+long+":"+long+"@p")
	if len(got.SOCKSUsername) != 255 || len(got.SOCKSPassword.Reveal()) != 255 {
		t.Errorf("of 255 bytes: %+v", got)
	}
	wantPeerProblems(t, RoleClient, input(flagTexts("socks-username=u"+long), nil), "flag --socks-username: is longer than the 255 bytes that SOCKS5 can carry")
}

// Half a pair must not mean none.
func TestAUserNameOrAPasswordAloneIsKept(t *testing.T) {
	t.Parallel()
	if got := peerOf(t, RoleClient, nil, "socks-username=u"); got.SOCKSUsername != "u" || !got.SOCKSPassword.IsZero() {
		t.Errorf("got %+v", got)
	}
	if got := peerOf(t, RoleClient, nil, "socks-password=p"); got.SOCKSUsername != "" || got.SOCKSPassword.Reveal() != "p" {
		t.Errorf("got %+v", got)
	}
}

func TestACertificateFileIsFoundFromHere(t *testing.T) {
	t.Parallel()
	here, err := filepath.Abs("ca.pem")
	if got := peerOf(t, RoleClient, nil, "ca=ca.pem"); err != nil || got.CA != here {
		t.Errorf("%s, %v, want %s", got.CA, err, here)
	}
}
