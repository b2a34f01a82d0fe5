package app

import (
	"errors"
	"fmt"
	"testing"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/store"
)

func TestServerAddressesAreDialledOnPort22Unless(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"host": "host:22", "host:2222": "host:2222", "10.0.0.1": "10.0.0.1:22", "[2001:db8::1]:2222": "[2001:db8::1]:2222",
		"[2001:db8::1]": "[2001:db8::1]:22", "2001:db8::1": "[2001:db8::1]:22", "::1": "[::1]:22", "host:65535": "host:65535",
		"": "", ":22": "", "host:": "", "host:0": "", "host:65536": "", "host:ssh": "", "[::1": "", "[::1]x": "", "[]:22": "", "[]": "", "host:-1": "", "host:+22": "",
	} {
		got, err := dialled(address)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", address, got, err)
		}
	}
}

var sealedBytes = []byte("sealed")

func TestRoutesOfServersUseWhatTheirAuthTypeSays(t *testing.T) {
	t.Parallel()
	key := &store.Key{Type: "ed25519", PrivateKey: sealedBytes}
	passwordKey := &store.Key{Type: "password", Passphrase: sealedBytes}
	for _, c := range []struct {
		authType string
		password []byte
		key      *store.Key
		code     api.Code
		usesKey  bool
	}{
		{"password", sealedBytes, nil, "", false},
		{"password", sealedBytes, key, "", false},
		{"password", nil, key, api.CodeCredentialsMissing, false},
		{"key", nil, key, "", true},
		{"keySelect", sealedBytes, key, "", true},
		{"keyContent", nil, key, "", true},
		{"key", sealedBytes, nil, api.CodeCredentialsMissing, false},
		{"key", nil, passwordKey, "", true},
		{"key", nil, &store.Key{Type: "password"}, api.CodeCredentialsMissing, false},
		{"key", nil, &store.Key{Type: "rsa"}, api.CodeCredentialsMissing, false},
	} {
		s := &store.Server{Host: "h", Port: 2222, Username: "u", AuthType: c.authType, Password: c.password, HostKeyPolicy: "strict"}
		r, lacks := routeOf(&store.Forward{ServerRef: "s", ServerID: "id", ServerAddress: "elsewhere"}, s, c.key)
		if codeOf(lacks) != c.code {
			t.Errorf("%+v: %v", c, lacks)
		}
		if lacks == nil && (r.address != "h:2222" || r.username != "u" || r.policy != "strict" || (r.key != nil) != c.usesKey || r.password == c.usesKey) {
			t.Errorf("%+v: %+v", c, r)
		}
	}
	_, lacks := routeOf(&store.Forward{ServerRef: "s"}, &store.Server{AuthType: "password", Password: sealedBytes}, nil)
	if codeOf(lacks) != api.CodeUsernameMissing {
		t.Errorf("no user name: %v", lacks)
	}
	if _, lacks := routeOf(&store.Forward{ServerRef: "gone"}, nil, nil); codeOf(lacks) != api.CodeServerMissing {
		t.Errorf("server gone: %v", lacks)
	}
}

func TestManualRoutesUseWhatTheirAuthTypeSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		authType               string
		password, content      []byte
		path                   string
		code                   api.Code
		usesPassword, usesPriv bool
		usesPath               bool
	}{
		{"password", sealedBytes, nil, "", "", true, false, false},
		{"password", sealedBytes, sealedBytes, "/k", "", true, false, false},
		{"password", nil, sealedBytes, "/k", api.CodeCredentialsMissing, false, false, false},
		{"key", nil, sealedBytes, "", "", false, true, false},
		{"keyContent", nil, sealedBytes, "/k", "", false, true, false},
		{"key", sealedBytes, nil, "", api.CodeCredentialsMissing, false, false, false},
		{"key", nil, nil, "/k", "", false, false, true},
		{"keyContent", nil, nil, "/k", "", false, false, true},
		{"keySelect", nil, nil, "/k", api.CodeCredentialsMissing, false, false, false},
		{"keySelect", nil, sealedBytes, "", "", false, true, false},
		{"", sealedBytes, nil, "", "", true, false, false},
		{"", sealedBytes, nil, "/k", "", true, false, false},
		{"", nil, sealedBytes, "/k", "", false, true, false},
		{"", sealedBytes, sealedBytes, "", "", true, true, false},
		{"", nil, nil, "/k", "", false, false, true},
		{"", nil, nil, "", api.CodeCredentialsMissing, false, false, false},
	} {
		f := &store.Forward{ServerAddress: "h", Username: "u", AuthType: c.authType, Password: c.password, KeyContent: c.content, KeyPath: c.path}
		r, lacks := routeOf(f, nil, nil)
		if codeOf(lacks) != c.code {
			t.Errorf("%+v: %v", c, lacks)
		}
		if lacks == nil && (r.password != c.usesPassword || r.content != c.usesPriv || (r.path == "/k") != c.usesPath || r.address != "h:22") {
			t.Errorf("%+v: %+v", c, r)
		}
	}
	if _, lacks := routeOf(&store.Forward{}, nil, nil); codeOf(lacks) != api.CodeServerMissing {
		t.Errorf("no server: %v", lacks)
	}
	if _, lacks := routeOf(&store.Forward{ServerAddress: "h"}, nil, nil); codeOf(lacks) != api.CodeUsernameMissing {
		t.Errorf("no user name: %v", lacks)
	}
}

func TestWhatIsMissingIsToldInTheOrderOfTheTable(t *testing.T) {
	t.Parallel()
	f := store.Forward{Type: "local"}
	for _, step := range []struct {
		code api.Code
		mend func()
	}{
		{api.CodeServerMissing, func() { f.ServerAddress = "h" }},
		{api.CodeTargetMissing, func() { f.RemotePort = 80 }},
		{api.CodeUsernameMissing, func() { f.Username = "u" }},
		{api.CodeCredentialsMissing, func() { f.Password = sealedBytes }},
	} {
		if _, _, lacks := ready(&f, nil, nil); codeOf(lacks) != step.code {
			t.Errorf("%v, want %s", lacks, step.code)
		}
		step.mend()
	}
	if _, _, lacks := ready(&f, nil, nil); lacks != nil {
		t.Errorf("complete, but %v", lacks)
	}
}

func TestAFullDiskIsTold(t *testing.T) {
	t.Parallel()
	err := Explain(fmt.Errorf("commit: %w", store.ErrFull))
	var told *api.Error
	if !errors.As(err, &told) || told.Code != api.CodeStorageFull {
		t.Errorf("%v", err)
	}
	if other := errors.New("other"); !errors.Is(Explain(other), other) || Explain(nil) != nil {
		t.Error("other errors are changed")
	}
}

func codeOf(err *api.Error) api.Code {
	if err == nil {
		return ""
	}
	return err.Code
}
