package app

import (
	"strings"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/forward"
	"github.com/adit-tunnel/adit/internal/store"
)

func TestEffectiveIsTheContractsTable(t *testing.T) {
	t.Parallel()
	type f = store.Forward
	for name, c := range map[string]struct {
		row                 f
		listen, on, deliver string
	}{
		// The documentation's three examples.
		"documented local": {f{Type: "local", LocalHost: "127.0.0.1", LocalPort: 8080, RemoteHost: "192.168.1.100", RemotePort: 80, BindAddress: "0.0.0.0", BindPort: 8080},
			"0.0.0.0:8080", "here", "192.168.1.100:80"},
		"documented remote": {f{Type: "remote", LocalHost: "0.0.0.0", LocalPort: 9000, RemoteHost: "192.168.1.101", RemotePort: 3306, BindAddress: "0.0.0.0", BindPort: 9000},
			"0.0.0.0:3306", "server", "127.0.0.1:9000"},
		"documented dynamic": {f{Type: "dynamic", BindAddress: "0.0.0.0", BindPort: 1080}, "0.0.0.0:1080", "here", "socks5"},
		"documented manual": {f{Type: "local", LocalHost: "127.0.0.1", LocalPort: 8080, RemoteHost: "192.168.1.100", RemotePort: 80},
			"127.0.0.1:8080", "here", "192.168.1.100:80"},

		"local, target only":               {f{Type: "local", RemotePort: 80}, "127.0.0.1:0", "here", "127.0.0.1:80"},
		"local, localHost":                 {f{Type: "local", LocalHost: "10.0.0.1", LocalPort: 1, RemotePort: 80}, "10.0.0.1:1", "here", "127.0.0.1:80"},
		"local, bindAddress over host":     {f{Type: "local", LocalHost: "10.0.0.1", BindAddress: "10.0.0.2", LocalPort: 1, RemotePort: 80}, "10.0.0.2:1", "here", "127.0.0.1:80"},
		"local, bindPort":                  {f{Type: "local", BindPort: 2, RemotePort: 80}, "127.0.0.1:2", "here", "127.0.0.1:80"},
		"local, localPort over bindPort":   {f{Type: "local", LocalPort: 1, BindPort: 2, RemotePort: 80}, "127.0.0.1:1", "here", "127.0.0.1:80"},
		"local, IPv6":                      {f{Type: "local", BindAddress: "::", LocalPort: 1, RemoteHost: "2001:db8::1", RemotePort: 80}, "[::]:1", "here", "[2001:db8::1]:80"},
		"local, IPv6 in brackets":          {f{Type: "local", BindAddress: "[::1]", LocalPort: 1, RemoteHost: "[2001:db8::1]", RemotePort: 80}, "[::1]:1", "here", "[2001:db8::1]:80"},
		"local, ssh's star":                {f{Type: "local", BindAddress: "*", LocalPort: 1, RemotePort: 80}, "0.0.0.0:1", "here", "127.0.0.1:80"},
		"local, a name":                    {f{Type: "local", RemoteHost: "db.internal", RemotePort: 5432}, "127.0.0.1:0", "here", "db.internal:5432"},
		"local, wildcard target as it is":  {f{Type: "local", RemoteHost: "0.0.0.0", RemotePort: 80}, "127.0.0.1:0", "here", "0.0.0.0:80"},
		"remote, least":                    {f{Type: "remote", BindPort: 9}, "localhost:9", "server", "127.0.0.1:9"},
		"remote, remotePort over bindPort": {f{Type: "remote", RemotePort: 8, BindPort: 9}, "localhost:8", "server", "127.0.0.1:9"},
		"remote, localPort over bindPort":  {f{Type: "remote", RemotePort: 8, LocalPort: 7, BindPort: 9}, "localhost:8", "server", "127.0.0.1:7"},
		"remote, wildcard remoteHost":      {f{Type: "remote", RemoteHost: "0.0.0.0", BindPort: 9}, "0.0.0.0:9", "server", "127.0.0.1:9"},
		"remote, IPv6 wildcard remoteHost": {f{Type: "remote", RemoteHost: "::", BindPort: 9}, "[::]:9", "server", "127.0.0.1:9"},
		"remote, loopback remoteHost":      {f{Type: "remote", RemoteHost: "127.0.0.2", BindPort: 9}, "127.0.0.2:9", "server", "127.0.0.1:9"},
		"remote, localhost remoteHost":     {f{Type: "remote", RemoteHost: "localhost", BindPort: 9}, "localhost:9", "server", "127.0.0.1:9"},
		"remote, other remoteHost":         {f{Type: "remote", RemoteHost: "192.168.1.101", BindPort: 9}, "localhost:9", "server", "127.0.0.1:9"},
		"remote, bindAddress over it":      {f{Type: "remote", RemoteHost: "::", BindAddress: "10.1.1.1", BindPort: 9}, "10.1.1.1:9", "server", "127.0.0.1:9"},
		"remote, IPv6 wildcard localHost":  {f{Type: "remote", LocalHost: "::", BindPort: 9}, "localhost:9", "server", "[::1]:9"},
		"remote, localHost elsewhere":      {f{Type: "remote", LocalHost: "nas.lan", LocalPort: 445, BindPort: 9}, "localhost:9", "server", "nas.lan:445"},
		"dynamic, nothing":                 {f{Type: "dynamic"}, "127.0.0.1:1080", "here", "socks5"},
		"dynamic, localPort":               {f{Type: "dynamic", LocalHost: "10.0.0.1", LocalPort: 5}, "10.0.0.1:5", "here", "socks5"},
		"dynamic, bindPort over localPort": {f{Type: "dynamic", LocalPort: 5, BindPort: 6}, "127.0.0.1:6", "here", "socks5"},
		"dynamic, target fields idle":      {f{Type: "dynamic", RemoteHost: "x", RemotePort: 7}, "127.0.0.1:1080", "here", "socks5"},
	} {
		got := effective(endsOf(&c.row), 0)
		want := api.Effective{Listen: c.listen, ListenOn: c.on, Deliver: c.deliver}
		if *got != want {
			t.Errorf("%s: %+v, want %+v", name, *got, want)
		}
	}
	if got := effective(endsOf(&f{Type: "dynamic"}), 1080); got.BoundPort == nil || *got.BoundPort != 1080 {
		t.Errorf("bound: %+v", got)
	}
}

func TestMissingPortsAreTold(t *testing.T) {
	t.Parallel()
	type f = store.Forward
	for _, c := range []struct {
		row  f
		code api.Code
	}{
		{f{Type: "local", RemotePort: 80}, ""},
		{f{Type: "local", LocalPort: 80, BindPort: 80}, api.CodeTargetMissing},
		{f{Type: "remote", BindPort: 9}, ""},
		{f{Type: "remote", LocalPort: 9}, api.CodePortMissing},
		{f{Type: "remote", RemotePort: 9}, api.CodeTargetMissing},
		{f{Type: "dynamic"}, ""},
	} {
		got := endsOf(&c.row).missing("x")
		if (got == nil) != (c.code == "") || got != nil && got.Code != c.code {
			t.Errorf("%+v: %v, want %q", c.row, got, c.code)
		}
	}
}

func TestWarningsAreAboutWhatOthersCanReach(t *testing.T) {
	t.Parallel()
	type f = store.Forward
	for _, c := range []struct {
		row  f
		want string
	}{
		{f{Type: "dynamic"}, ""},
		{f{Type: "dynamic", BindAddress: "127.0.0.9"}, ""},
		{f{Type: "dynamic", BindAddress: "localhost"}, ""},
		{f{Type: "dynamic", BindAddress: "::1"}, ""},
		{f{Type: "dynamic", BindAddress: "0.0.0.0"}, "SOCKS proxy"},
		{f{Type: "dynamic", LocalHost: "10.0.0.1"}, "SOCKS proxy"},
		{f{Type: "dynamic", BindAddress: "0.0.0.0", SOCKSUsername: "u"}, ""},
		{f{Type: "local", BindAddress: "0.0.0.0"}, ""},
		{f{Type: "remote", BindPort: 9}, ""},
		{f{Type: "remote", RemoteHost: "192.168.1.1", BindPort: 9}, ""},
		{f{Type: "remote", BindAddress: "0.0.0.0", BindPort: 9}, "GatewayPorts"},
		{f{Type: "remote", RemoteHost: "::", BindPort: 9}, "GatewayPorts"},
	} {
		got := warnings(&c.row, forward.Status{})
		if got == nil || len(got) > 1 || (len(got) == 0) != (c.want == "") || len(got) == 1 && !strings.Contains(got[0], c.want) {
			t.Errorf("%+v: %q, want %q", c.row, got, c.want)
		}
	}
}

func TestEffectiveShowsThePortThatTheSystemPicked(t *testing.T) {
	t.Parallel()
	e := endsOf(&store.Forward{Type: api.ForwardLocal, RemotePort: 80})
	if got := effective(e, 0); got.Listen != "127.0.0.1:0" || got.BoundPort != nil {
		t.Errorf("before it listens: %+v", got)
	}
	if got := effective(e, 40000); got.Listen != "127.0.0.1:40000" || *got.BoundPort != 40000 {
		t.Errorf("while it listens: %+v", got)
	}
}

func TestAHostIsANameOrAnAddress(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"box", "box.example.org", "a_b-c", "10.0.0.5", "::1", "[::1]", "fe80::1%eth0", "*", "0.0.0.0"} {
		if !isHost(good) {
			t.Errorf("%q is refused", good)
		}
	}
	for _, bad := range []string{"", "http://box", "ssh://h:22", "root@box", "10.0.0.5:22", "[::1]:22", "a b", "box/", "[]"} {
		if isHost(bad) {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestWarningsTellWhatWasNotDelivered(t *testing.T) {
	t.Parallel()
	row := store.Forward{Type: api.ForwardLocal, RemoteHost: "10.0.0.5", RemotePort: 80}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	told := warnings(&row, forward.Status{Undelivered: &forward.Failure{Message: "connection refused", At: at}})
	want := "The last connection, at 2026-01-02T03:04:05Z, could not be delivered to 10.0.0.5:80: connection refused"
	if len(told) != 1 || told[0] != want {
		t.Errorf("got %q", told)
	}
}
