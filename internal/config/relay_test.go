package config

import (
	"log/slog"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/redact"
)

// flagTexts makes flags of "name=value", or of a name alone as of a boolean.
func flagTexts(flags ...string) map[string][]string {
	texts := make(map[string][]string)
	for _, flag := range flags {
		name, value, ok := strings.Cut(flag, "=")
		if !ok {
			value = "true"
		}
		texts[name] = append(texts[name], value)
	}
	return texts
}

func relayOf(t *testing.T, variables map[string]string, flags ...string) RelayServe {
	t.Helper()
	got, err := LoadRelayServe(input(flagTexts(flags...), variables))
	if err != nil {
		t.Fatalf("%q, %q: %v", flags, variables, err)
	}
	return got
}

func wantLines(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s:\n  %s\nwant:\n  %s", what, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestRelayServeOfNothingIsAForwardRelay(t *testing.T) {
	t.Parallel()
	want := RelayServe{
		Listen: "0.0.0.0:8765", SOCKSHost: "127.0.0.1", SOCKSPool: PortRange{1024, 10240},
		ConnectorWait: 5 * time.Second, UDPIdle: 2 * time.Minute, LogFormat: FormatText, Drain: 10 * time.Second,
	}
	if got := relayOf(t, nil); !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	want.Reverse, want.SOCKSPort = true, 9870
	if got := relayOf(t, nil, "reverse"); !reflect.DeepEqual(got, want) {
		t.Errorf("with --reverse: got %+v\nwant %+v", got, want)
	}
}

// relayValues has every setting; with the API key the first token's would not
// count.
func relayValues() (map[string]string, RelayServe) {
	values := map[string]string{
		"ws-host": "::", "ws-port": "0", "token": "t0ken", "connector-token": "c0nnect", "connector-autonomy": "yes", "reverse": "1",
		"socks-host": "::1", "socks-port": "1080", "socks-username": "user", "socks-password": "pa55", "socks-nowait": "true",
		"upstream-proxy": "socks5h://u:p@proxy:1080", "fast-open": "True", "debug": "2", "connector-wait-provider": "0s", "data": "/srv/relay",
		"socks-ports": "1000-1079,1080", "socks-pool": "2000-2000", "trusted-proxy": "::ffff:10.0.0.0/104", "allow": "*,10.0.0.1", "deny": "*:25",
		"udp-idle": "1m", "log-level": "error", "log-format": "json", "drain": "0s",
	}
	return values, RelayServe{
		Listen: "[::]:0", Data: "/srv/relay",
		Token: redact.New("t0ken"), Reverse: true, ConnectorToken: redact.New("c0nnect"), Autonomy: true,
		SOCKSPort: 1080, SOCKSUsername: "user", SOCKSPassword: redact.New("pa55"),
		SOCKSHost: "::1", SOCKSPorts: []PortRange{{1000, 1079}, {1080, 1080}}, SOCKSPool: PortRange{2000, 2000}, SOCKSNoWait: true,
		UpstreamProxy: redact.New("socks5h://u:p@proxy:1080"), FastOpen: true,
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, Allow: []string{"*", "10.0.0.1"}, Deny: []string{"*:25"},
		UDPIdle: time.Minute, LogLevel: slog.LevelDebug, LogFormat: FormatJSON,
	}
}

func TestRelayServeSetsEveryFieldFromEverySource(t *testing.T) {
	t.Parallel()
	values, want := relayValues()
	rest := RelayServeSettings()
	for i, s := range rest {
		if s.Name == "api-key" {
			rest = append(rest[:i:i], rest[i+1:]...)
			break
		}
	}
	for source, in := range sources(t, rest, values) {
		got, err := LoadRelayServe(in)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v\nwant %+v", source, got, err, want)
		}
	}
}

func TestAnAPIKeyLeavesNoFirstTokenAndSaysSo(t *testing.T) {
	t.Parallel()
	got := relayOf(t, map[string]string{"LINKSOCKS_TOKEN": "t0ken", "LINKSOCKS_CONNECTOR_AUTONOMY": "1"},
		"api-key=k3y", "reverse", "connector-token=c", "socks-port=1", "socks-username=u", "socks-password=p")
	want := relayOf(t, nil, "api-key=k3y")
	if want.APIKey.Reveal() != "k3y" || want.SOCKSPort != 0 || want.Notes != nil {
		t.Errorf("with nothing but the key: %+v", want)
	}
	notes := got.Notes
	if got.Notes = nil; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	wantLines(t, "notes", notes,
		"variable LINKSOCKS_TOKEN: has no effect: with an API key there is no first token, the API adds them",
		"flag --reverse: has no effect: with an API key there is no first token, the API adds them",
		"flag --connector-token: has no effect: with an API key the API says it for each token",
		"variable LINKSOCKS_CONNECTOR_AUTONOMY: has no effect: with an API key the API says it for each token",
		"flag --socks-port: has no effect: with an API key the API says it for each token",
		"flag --socks-username: has no effect: with an API key the API says it for each token",
		"flag --socks-password: has no effect: with an API key the API says it for each token")
}

func TestAForwardTokenHasNothingOfAReverseOne(t *testing.T) {
	t.Parallel()
	got := relayOf(t, nil, "token=t", "reverse=false", "connector-token=c", "connector-autonomy", "socks-port=1", "socks-username=u", "socks-password=p")
	if len(got.Notes) != 5 || got.Notes[0] != "flag --connector-token: has no effect: it is for a reverse token, and there is no --reverse" {
		t.Errorf("notes %q", got.Notes)
	}
	want := relayOf(t, nil, "token=t")
	if got.Notes = nil; !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
}

func TestAnAutonomousTokenHasASOCKSPortOnlyIfAsked(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		flags []string
		want  int
	}{
		{[]string{"reverse"}, 9870},
		{[]string{"reverse", "socks-port=0"}, 0},
		{[]string{"reverse", "connector-autonomy"}, 0},
		{[]string{"reverse", "connector-autonomy", "socks-port=9870"}, 9870},
		{[]string{"reverse", "connector-autonomy", "socks-ports=1"}, 0},
	} {
		if got := relayOf(t, nil, tt.flags...); got.SOCKSPort != tt.want {
			t.Errorf("%q: port %d, want %d", tt.flags, got.SOCKSPort, tt.want)
		}
	}
	for flags, want := range map[string]string{
		"reverse socks-ports=1-9869,9871":    "flag --socks-port: 9870 is not one of --socks-ports",
		"reverse socks-ports=2 socks-port=3": "flag --socks-port: 3 is not one of --socks-ports",
	} {
		_, err := LoadRelayServe(input(flagTexts(strings.Fields(flags)...), nil))
		wantLines(t, flags, problemsOf(t, err), want)
	}
}

func TestWhatHasNoEffectSaysSo(t *testing.T) {
	t.Parallel()
	file := write(t, "adit.yaml", "direct-rendezvous-port: 8765\n")
	got := relayOf(t, map[string]string{"ADIT_DIRECT_RENDEZVOUS_HOST": "::"},
		"config="+file, "buffer-size=0", "direct-enable", "direct-rendezvous-udp=false")
	wantLines(t, "notes", got.Notes,
		"flag --buffer-size: has no effect: adit sizes its buffers by itself",
		"flag --direct-enable: has no effect: direct mode is not offered yet, everything goes through the relay",
		"variable ADIT_DIRECT_RENDEZVOUS_HOST: has no effect: direct mode is not offered yet, everything goes through the relay",
		"file "+file+", line 1: direct-rendezvous-port: has no effect: direct mode is not offered yet, everything goes through the relay")
	_, err := LoadRelayServe(input(flagTexts("direct-enable=maybe"), nil))
	wantLines(t, "problems", problemsOf(t, err), `flag --direct-enable: "maybe" is not one of true, false, yes, no, 1, 0`)
}

func TestLinksocksVariablesComeAfterOursAndBeforeTheFile(t *testing.T) {
	t.Parallel()
	file := write(t, "adit.yaml", "ws-host: file\nws-port: 1\nsocks-host: file\napi-key: file\n")
	env := map[string]string{
		"ADIT_CONFIG": file, "ADIT_SOCKS_HOST": "ours", "ADIT_API_KEY": "",
		"LINKSOCKS_WEBSOCKET_HOST": "theirs", "LINKSOCKS_WEBSOCKET_PORT": " 2\n", "LINKSOCKS_SOCKS_HOST": "theirs", "LINKSOCKS_API_KEY": "theirs",
		"LINKSOCKS_DRAIN": "no variable of theirs", "LINKSOCKS_FASTOPEN": " ",
	}
	got := relayOf(t, env, "ws-host=flag")
	if got.Listen != "flag:2" || got.SOCKSHost != "ours" || got.APIKey.Reveal() != "theirs" {
		t.Errorf("listens on %s, SOCKS on %s, key %q", got.Listen, got.SOCKSHost, got.APIKey.Reveal())
	}
	serve, err := Load(input(nil, map[string]string{"LINKSOCKS_API_KEY": "theirs", "LINKSOCKS_SOCKS_HOST": "theirs"}))
	if err != nil || serve.APIKey.Reveal() != "theirs" || serve.SOCKSHost != "theirs" {
		t.Errorf("adit serve: %+v, %v", serve, err)
	}
	key := write(t, "key", "ours")
	if got := relayOf(t, map[string]string{"ADIT_API_KEY_FILE": key, "LINKSOCKS_API_KEY": "theirs"}); got.APIKey.Reveal() != "ours" {
		t.Errorf("our file's variable gives %q", got.APIKey.Reveal())
	}
	_, err = LoadRelayServe(input(nil, map[string]string{"LINKSOCKS_WEBSOCKET_PORT": "http"}))
	wantLines(t, "problems", problemsOf(t, err), `variable LINKSOCKS_WEBSOCKET_PORT: "http" is no port: write a number from 0 to 65535`)
}

func TestEveryLinksocksVariableIsRead(t *testing.T) {
	t.Parallel()
	for name, settings := range map[string][]Setting{
		"TOKEN CONNECTOR_TOKEN WEBSOCKET_HOST WEBSOCKET_PORT SOCKS_HOST SOCKS_PORT SOCKS_USERNAME SOCKS_PASSWORD API_KEY CONNECTOR_AUTONOMY UPSTREAM_PROXY FASTOPEN": RelayServeSettings(),
		"TOKEN CONNECTOR_TOKEN URL SOCKS_HOST SOCKS_PORT SOCKS_USERNAME SOCKS_PASSWORD UPSTREAM_PROXY FASTOPEN RETRY_AUTH":                                           PeerSettings(),
	} {
		got := make(map[string]bool)
		for _, s := range settings {
			if s.Stock != "" {
				got[s.Stock] = true
			}
		}
		want := make(map[string]bool)
		for _, variable := range strings.Fields(name) {
			want[variable] = true
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("read %v, want %v", got, want)
		}
	}
}

// The letters are linksocks'.
func TestLettersAndNamesAreLinksocks(t *testing.T) {
	t.Parallel()
	for want, settings := range map[string][]Setting{
		"H ws-host P ws-port t token c connector-token a connector-autonomy r reverse s socks-host p socks-port n socks-username " +
			"w socks-password i socks-nowait k api-key x upstream-proxy f fast-open d debug b buffer-size": RelayServeSettings(),
		"t token u url r reverse c connector-token s socks-host p socks-port n socks-username w socks-password i socks-no-wait " +
			"R no-reconnect d debug T threads x upstream-proxy f fast-open E no-env-proxy b buffer-size": PeerSettings(),
		"": Settings(),
	} {
		var got []string
		for _, s := range settings {
			if s.Short != "" {
				got = append(got, s.Short, s.Name)
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("got %q\nwant %q", strings.Join(got, " "), want)
		}
	}
}
