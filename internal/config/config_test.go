package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/redact"
)

// input makes an Input of flags and variables; there is always a HOME.
func input(flags map[string][]string, variables map[string]string) Input {
	return Input{Flags: flags, Env: func(name string) string {
		if value, ok := variables[name]; ok || name != "HOME" {
			return value
		}
		return "/home/user"
	}}
}

// write makes a file in the test's own directory.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// problems loads what must not load.
func problems(t *testing.T, in Input) []string {
	t.Helper()
	_, err := Load(in)
	return problemsOf(t, err)
}

func problemsOf(t *testing.T, err error) []string {
	t.Helper()
	wrong, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("Load gave %v, want an *Error", err)
	}
	return wrong.Problems
}

func wantProblems(t *testing.T, in Input, want ...string) {
	t.Helper()
	if got := problems(t, in); !reflect.DeepEqual(got, want) {
		t.Errorf("problems:\n  %s\nwant:\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestLoadOfNothingGivesTheDefaults(t *testing.T) {
	t.Parallel()
	got, err := Load(input(nil, nil))
	want := Config{
		Data:          "/home/user/.local/share/adit",
		Listen:        "127.0.0.1:3000",
		RelayListen:   "127.0.0.1:8765",
		SOCKSHost:     "127.0.0.1",
		SOCKSPool:     PortRange{1024, 10240},
		Registration:  "invite",
		MinPassword:   8,
		UDPIdle:       2 * time.Minute,
		HostKeyPolicy: AcceptNew,
		LogFormat:     FormatText,
		LogLevel:      slog.LevelInfo,
		Drain:         10 * time.Second,
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, want)
	}
}

func TestLoadSetsEveryFieldFromEverySource(t *testing.T) {
	t.Parallel()
	authority := write(t, "authority", hostCA)
	keys := t.TempDir()
	want := Config{
		Data:        "/srv/adit",
		Database:    redact.New("postgres://u:p@h/d"),
		Listen:      "[::1]:0",
		RelayListen: "",
		APIKey:      redact.New("k3y"),
		SOCKSHost:   "::1",
		SOCKSPorts:  []PortRange{{1080, 1080}, {9000, 9999}},
		SOCKSPool:   PortRange{9000, 9100},
		TrustedProxies: []netip.Prefix{
			netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("192.0.2.1/32"),
		},
		CORSOrigins:   []string{"https://app.example.org", "null"},
		Registration:  "closed",
		MinPassword:   12,
		UDPIdle:       30 * time.Second,
		HostKeyPolicy: Strict,
		HostCAs:       authorities(t),
		KeyDir:        keys,
		Allow:         []string{"10.0.0.0/8", "*.internal:443"},
		Deny:          []string{"10.1.1.1"},
		AllowBind:     []string{"127.0.0.1"},
		LogFormat:     FormatJSON,
		LogLevel:      slog.LevelDebug,
		Drain:         90 * time.Second,
	}
	values := map[string]string{
		"data": "/srv/adit", "database": "postgres://u:p@h/d", "listen": "[::1]:0", "relay-listen": "off", "api-key": "k3y", "min-password": "12",
		"host-key-policy": "strict", "allow": "10.0.0.0/8, *.internal:443", "deny": "10.1.1.1",
		"allow-bind": "127.0.0.1", "socks-host": "[::1]", "socks-ports": "1080, 9000-9999", "socks-pool": "9000-9100",
		"trusted-proxy": "10.1.2.3/8,192.0.2.1", "udp-idle": "30s", "log-format": "json", "log-level": "debug", "drain": "1m30s",
		"registration": "closed", "cors-origin": "https://app.example.org,null", "host-ca": authority, "key-dir": keys,
	}
	for source, in := range sources(t, Settings(), values) {
		got, err := Load(in)
		if err != nil || !reflect.DeepEqual(got, want) || got.APIKey.Reveal() != "k3y" {
			t.Errorf("%s: got %+v, %v\nwant %+v", source, got, err, want)
		}
	}
}

// sources gives the values, which are to be of all the settings that do
// something, by each source that the command has.
func sources(t *testing.T, settings []Setting, values map[string]string) map[string]Input {
	t.Helper()
	flags, file := map[string][]string{}, ""
	variables, wrong := map[string]string{}, map[string]string{}
	for name, value := range values {
		flags[name] = []string{value}
		variables[variable(name)], wrong[variable(name)] = value, ""
		file += fmt.Sprintf("%s: %q\n", name, value)
	}
	for _, s := range settings {
		if _, ok := values[s.Name]; !ok && s.Name != "config" && s.Inert == "" {
			t.Errorf("the setting %s is not in this test", s.Name)
		}
		if s.set != nil && s.set([]string{"\x00 / "}) != nil {
			wrong[variable(s.Name)] = "\x00 / "
		}
	}
	inputs := map[string]Input{
		"flags":                   input(flags, nil),
		"environment":             input(nil, variables),
		"flags over a wrong rest": input(flags, wrong),
	}
	if has(settings, "config") {
		path := write(t, "adit.yaml", file)
		inputs["file named by flag"] = input(map[string][]string{"config": {path}}, nil)
		inputs["file named by variable"] = input(nil, map[string]string{"ADIT_CONFIG": path})
	}
	return inputs
}

// variable is the name that a setting's variable has to have.
func variable(name string) string {
	return "ADIT_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
}

func TestLoadPrefersFlagsToVariablesToTheFileToDefaults(t *testing.T) {
	t.Parallel()
	path := write(t, "adit.yaml", "listen: 127.0.0.1:1\nlog-level: error\ndrain: 1s\ndeny: [10.0.0.1, 10.0.0.2]\n")
	got, err := Load(input(
		map[string][]string{"config": {path}, "listen": {"127.0.0.1:8", "127.0.0.1:3"}},
		map[string]string{"ADIT_LISTEN": "127.0.0.1:2", "ADIT_LOG_LEVEL": "warn", "ADIT_DRAIN": "", "ADIT_DENY": "10.0.0.3"},
	))
	if err != nil {
		t.Fatal(err)
	}
	if got.Listen != "127.0.0.1:3" {
		t.Errorf("listen is %s, want the last flag's", got.Listen)
	}
	if got.LogLevel != slog.LevelWarn {
		t.Errorf("level is %s, want the variable's", got.LogLevel)
	}
	if got.Drain != time.Second {
		t.Errorf("drain is %s, want the file's, since an empty variable is none", got.Drain)
	}
	if got.LogFormat != FormatText {
		t.Errorf("format is %s, want the default", got.LogFormat)
	}
	if want := []string{"10.0.0.3"}; !reflect.DeepEqual(got.Deny, want) {
		t.Errorf("deny is %q, want %q: the stronger list replaces the weaker", got.Deny, want)
	}
}

func TestLoadTellsEverythingWrongAndWhereItStands(t *testing.T) {
	t.Parallel()
	path := write(t, "adit.yaml", "# a comment\nlisten: 3000\nlisen: 127.0.0.1:3000\nlog-format:\n  json: true\n\nconfig: other.yaml\nLog-Level: info\nlog-level: info\nlog-level: warn\nhost-key-policy:\n")
	wantProblems(t, input(
		map[string][]string{"config": {path}, "drain": {"10"}, "min-password": {"7"}},
		map[string]string{"ADIT_RELAY_LISTEN": "none", "ADIT_DENY": "10.0.0.0/33, 10.0.0.1:x"},
	),
		"file "+path+`, line 3: unknown key "lisen"`,
		"file "+path+`, line 5: log-format takes one plain value`,
		"file "+path+`, line 7: "config" names this file and cannot stand in it`,
		"file "+path+`, line 8: unknown key "Log-Level"`,
		"file "+path+`, line 10: "log-level" stands in line 9 already`,
		"file "+path+`, line 2: listen: "3000" is no address: write host:port, as in 127.0.0.1:3000 or [::1]:3000`,
		`variable ADIT_RELAY_LISTEN: "none" is no address: write host:port, as in 127.0.0.1:3000 or [::1]:3000, or "off"`,
		`flag --min-password: "7" is not a whole number from 8 to 128`,
		"file "+path+`, line 11: host-key-policy: has no value`,
		"variable ADIT_DENY: "+ruleProblem(t, "10.0.0.0/33"),
		"variable ADIT_DENY: "+ruleProblem(t, "10.0.0.1:x"),
		`flag --drain: "10" is no duration: write a number and a unit, as in 10s or 1m30s`,
	)
}

// ruleProblem is package policy's own word on a wrong rule.
func ruleProblem(t *testing.T, rule string) string {
	t.Helper()
	_, text, found := strings.Cut(problems(t, input(map[string][]string{"deny": {rule}}, nil))[0], ": ")
	if !found || !strings.Contains(text, rule) {
		t.Fatalf("%q does not name the rule %s", text, rule)
	}
	return text
}

func TestLoadRefusesAFileThatIsNoMapping(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"- listen\n":                 `line 1: is no list of settings: write one "name: value" a line`,
		"listen=127.0.0.1:3000\n":    `line 1: is no list of settings: write one "name: value" a line`,
		"listen: [127.0.0.1:1]\n":    "line 1: listen takes one plain value",
		"deny: [{a: b}]\n":           "line 1: deny is a list of plain values",
		"deny: {a: b}\n":             "line 1: deny is a list of plain values",
		"deny: []\n":                 "line 1: deny: has no value",
		"drain: 1s\n---\ndrain: 2s":  ": more than one YAML document",
		"drain: 1s\n  listen: 2\n":   "yaml: ",
		strings.Repeat("#", 1<<20+1): ": larger than 1048576 bytes",
	} {
		got := problems(t, input(map[string][]string{"config": {write(t, "adit.yaml", text)}}, nil))
		if len(got) != 1 || !strings.Contains(got[0], want) {
			t.Errorf("%.40q: %q, want one with %q", text, got, want)
		}
	}
	for _, text := range []string{"", "# nothing\n", "---\n"} {
		if _, err := Load(input(map[string][]string{"config": {write(t, "adit.yaml", text)}}, nil)); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestLoadTellsOfAMissingFileByItsSource(t *testing.T) {
	t.Parallel()
	wantProblems(t, input(map[string][]string{"config": {"/nowhere/adit.yaml"}}, nil),
		"flag --config: read /nowhere/adit.yaml: no such file or directory")
	wantProblems(t, input(nil, map[string]string{"ADIT_CONFIG": "/nowhere/adit.yaml"}),
		"variable ADIT_CONFIG: read /nowhere/adit.yaml: no such file or directory")
	wantProblems(t, input(nil, map[string]string{"ADIT_API_KEY_FILE": "/nowhere/key"}),
		"variable ADIT_API_KEY_FILE: read /nowhere/key: no such file or directory")
}

func TestLoadRefusesAFlagWithoutAValue(t *testing.T) {
	t.Parallel()
	for _, s := range Settings() {
		wantProblems(t, input(map[string][]string{s.Name: {""}}, nil), "flag --"+s.Name+": has no value")
	}
	wantProblems(t, input(map[string][]string{"allow": {" , "}}, nil), "flag --allow: has no value")
	wantProblems(t, input(map[string][]string{"api-key-file": {""}}, nil), "flag --api-key-file: has no value")
}

func TestLoadReadsASecretFromItsFile(t *testing.T) {
	t.Parallel()
	key, other := write(t, "key", "k3y\r\n"), write(t, "other", "other")
	file := write(t, "adit.yaml", "api-key-file: "+key+"\n")
	for source, in := range map[string]Input{
		"flag":                       input(map[string][]string{"api-key-file": {key}}, nil),
		"variable":                   input(nil, map[string]string{"ADIT_API_KEY_FILE": key}),
		"file":                       input(map[string][]string{"config": {file}}, nil),
		"flag over a variable":       input(map[string][]string{"api-key-file": {key}}, map[string]string{"ADIT_API_KEY": "other"}),
		"flag over a variable's":     input(map[string][]string{"api-key": {"k3y"}}, map[string]string{"ADIT_API_KEY_FILE": other}),
		"variable over a file's key": input(map[string][]string{"config": {file}}, map[string]string{"ADIT_API_KEY": "k3y"}),
	} {
		got, err := Load(in)
		if err != nil || got.APIKey.Reveal() != "k3y" {
			t.Errorf("%s: key %q, %v", source, got.APIKey.Reveal(), err)
		}
	}
}

func TestLoadRefusesASecretGivenTwiceInOneSource(t *testing.T) {
	t.Parallel()
	key := write(t, "key", "k3y")
	wantProblems(t, input(map[string][]string{"api-key": {"k3y"}, "api-key-file": {key}}, nil),
		"flag --api-key-file: flag --api-key is given too: use one of them")
	wantProblems(t, input(nil, map[string]string{"ADIT_API_KEY": "k3y", "ADIT_API_KEY_FILE": key}),
		"variable ADIT_API_KEY_FILE: variable ADIT_API_KEY is given too: use one of them")
	file := write(t, "adit.yaml", "api-key: k3y\napi-key-file: "+key+"\n")
	wantProblems(t, input(map[string][]string{"config": {file}}, nil),
		"file "+file+", line 2: api-key-file: file "+file+", line 1: api-key is given too: use one of them")
}

func TestLoadNeverRepeatsASecret(t *testing.T) {
	t.Parallel()
	const secret = "sw0rd fish"
	for _, in := range []Input{
		input(map[string][]string{"api-key": {secret}}, nil),
		input(nil, map[string]string{"ADIT_API_KEY": secret}),
		input(map[string][]string{"api-key-file": {write(t, "key", secret)}}, nil),
		input(map[string][]string{"config": {write(t, "adit.yaml", "api-key: "+secret)}}, nil),
		input(map[string][]string{"config": {write(t, "adit.yaml", "api-key: ["+secret+"]")}}, nil),
		input(map[string][]string{"config": {write(t, "adit.yaml", "api-key="+secret)}}, nil),
	} {
		if got := problems(t, in); strings.Contains(strings.Join(got, "\n"), "sw0rd") {
			t.Errorf("the secret is in %q", got)
		}
	}
	wantProblems(t, input(map[string][]string{"api-key": {secret}}, nil),
		"flag --api-key: holds a space or a character outside printable ASCII, which no HTTP header can carry")
	empty := write(t, "key", "\n")
	wantProblems(t, input(map[string][]string{"api-key-file": {empty}}, nil),
		"flag --api-key-file: read "+empty+": the file is empty")
}

func TestLoadPutsDataWhereTheEnvironmentSays(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ xdg, home, want string }{
		{"/data", "/home/user", "/data/adit"},
		{"relative", "/home/user", "/home/user/.local/share/adit"},
		{"", "/home/user", "/home/user/.local/share/adit"},
		{"/data", "", "/data/adit"},
	} {
		got, err := Load(input(nil, map[string]string{"XDG_DATA_HOME": tt.xdg, "HOME": tt.home}))
		if err != nil || got.Data != tt.want {
			t.Errorf("XDG_DATA_HOME=%s HOME=%s: %s, %v, want %s", tt.xdg, tt.home, got.Data, err, tt.want)
		}
	}
	homeless := input(nil, map[string]string{"HOME": ""})
	if os.Geteuid() != 0 {
		wantProblems(t, homeless, "flag --data: is needed: neither XDG_DATA_HOME nor HOME says where data belongs")
	} else if got, err := Load(homeless); err != nil || got.Data != "/var/lib/adit" {
		t.Errorf("root without a home: %s, %v", got.Data, err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Load(input(map[string][]string{"data": {"d"}}, nil)); err != nil || got.Data != filepath.Join(here, "d") {
		t.Errorf("a relative directory: %s, %v", got.Data, err)
	}
}

func TestLoadTakesAddressesAndNothingElse(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"127.0.0.1:0", ":3000", "localhost:65535", "[::]:3000", "[fe80::1%eth0]:3000", "0.0.0.0:80"} {
		if got, err := Load(input(map[string][]string{"listen": {text}}, nil)); err != nil || got.Listen != text {
			t.Errorf("%q: %q, %v", text, got.Listen, err)
		}
	}
	for _, text := range []string{"3000", "off", "::1:3000", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536", "127.0.0.1:-1", "http://127.0.0.1:3000", "a b:1"} {
		problems(t, input(map[string][]string{"listen": {text}}, nil))
	}
}
