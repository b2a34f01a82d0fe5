package app

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/store"
)

const sshPort = 22

// route is how a forward gets to its SSH server, as far as rows tell it: no
// secret has been opened yet.
type route struct {
	address  string // host:port
	username string
	policy   string        // host key policy of the row, empty for the operator's
	server   *store.Server // nil for a manual forward
	key      *store.Key    // nil when no key row is used
	password bool          // log in with the server's or forward's own password
	content  bool          // log in with the forward's own key
	path     string        // log in with the key in this file; only when nothing else is given
}

// routeOf resolves the SSH server of a forward. server and key are the rows
// that the forward and that server name, nil when there are none. Its error
// says what a start lacks.
func routeOf(f *store.Forward, server *store.Server, key *store.Key) (route, *api.Error) {
	switch {
	case f.ServerRef != "" && server == nil:
		return route{}, &api.Error{
			Code:    api.CodeServerMissing,
			Message: fmt.Sprintf("The server %s of port forward %q is not there any more", shorten(f.ServerRef), f.Name),
			Hint:    "set serverId again, or to null and serverAddress",
		}
	case server != nil:
		return serverRoute(server, key)
	case f.ServerAddress == "":
		return route{}, &api.Error{
			Code: api.CodeServerMissing, Message: fmt.Sprintf("Port forward %q names no SSH server", f.Name), Hint: "set serverId or serverAddress",
		}
	}
	return manualRoute(f)
}

func serverRoute(s *store.Server, key *store.Key) (route, *api.Error) {
	label := fmt.Sprintf("Server %q", s.Name)
	r := route{address: addressOf(s), username: s.Username, policy: s.HostKeyPolicy, server: s}
	if s.Username == "" {
		return r, usernameMissing(label)
	}
	if s.AuthType == api.AuthPassword {
		if len(s.Password) == 0 {
			return r, credentialsMissing(label, "set its password")
		}
		r.password = true
		return r, nil
	}
	switch {
	case key == nil && s.KeyRef != "":
		return r, &api.Error{
			Code: api.CodeCredentialsMissing, Message: fmt.Sprintf("Key with id %s not found", shorten(s.KeyRef)),
			Hint: fmt.Sprintf("it was deleted, or its owner has left the team; set the keyId of server %q again", s.Name),
		}
	case key == nil:
		return r, credentialsMissing(label, "set its keyId to a key that is there")
	case key.Type == api.KeyTypePassword && len(key.Passphrase) == 0:
		return r, credentialsMissing(fmt.Sprintf("Key %q", key.Name), "set its passphrase, which is the password to log in with")
	case key.Type != api.KeyTypePassword && len(key.PrivateKey) == 0:
		return r, credentialsMissing(fmt.Sprintf("Key %q", key.Name), "set its privateKey")
	}
	r.key = key
	return r, nil
}

func manualRoute(f *store.Forward) (route, *api.Error) {
	label := fmt.Sprintf("Port forward %q", f.Name)
	address, err := dialled(f.ServerAddress)
	r := route{address: address, username: f.Username, policy: f.HostKeyPolicy}
	if err != nil {
		return r, &api.Error{Code: api.CodeServerMissing, Message: label + ": " + serverAddressProblem, Err: err}
	}
	if f.Username == "" {
		return r, usernameMissing(label)
	}
	hasPassword, hasKey := len(f.Password) > 0, len(f.KeyContent) > 0
	switch f.AuthType {
	case api.AuthPassword:
		r.password = hasPassword
	case "": // what is given decides
		r.password, r.content = hasPassword, hasKey
	default:
		r.content = hasKey
	}
	readsPath := f.KeyPath != "" && f.AuthType != api.AuthPassword && f.AuthType != api.AuthKeySelect
	switch {
	case r.password || r.content:
		return r, nil
	case readsPath:
		r.path = f.KeyPath
		return r, nil
	case f.AuthType == api.AuthPassword:
		return r, credentialsMissing(label, "set its password")
	}
	return r, credentialsMissing(label, "set its password or keyContent")
}

func usernameMissing(label string) *api.Error {
	return &api.Error{Code: api.CodeUsernameMissing, Message: label + " has no user name to log in with", Hint: "set its username"}
}

func credentialsMissing(label, hint string) *api.Error {
	return &api.Error{Code: api.CodeCredentialsMissing, Message: label + " has nothing to log in with", Hint: hint}
}

// isHost reports whether s can be a host name or an IP address: no URL, no user, no port.
func isHost(s string) bool {
	if _, err := netip.ParseAddr(bare(s)); err == nil {
		return true
	}
	return s != "" && !strings.ContainsAny(s, "/\\@:?#[]% \t\r\n")
}

// hostProblems says which of the given hosts are none; a host that is not given is fine.
func hostProblems(given map[string]api.Opt[string]) (problems []string) {
	for _, field := range slices.Sorted(maps.Keys(given)) {
		if host, ok := given[field].Get(); ok && !isHost(host) {
			problems = append(problems, field+" must be a host name or an IP address, without scheme, user and port")
		}
	}
	return problems
}

const serverAddressProblem = "serverAddress must be host, host:port or [v6]:port"

// dialled reads serverAddress: host, host:port, [v6]:port or a bare v6.
func dialled(address string) (string, error) {
	host, port := address, sshPort
	switch {
	case strings.HasPrefix(address, "[") && strings.HasSuffix(address, "]"):
		host = address[1 : len(address)-1]
	case strings.HasPrefix(address, "["), strings.Count(address, ":") == 1:
		h, p, err := net.SplitHostPort(address)
		if err != nil {
			return "", err
		}
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return "", fmt.Errorf("port %q is not 1 to 65535", p)
		}
		host, port = h, int(n)
	}
	if !isHost(host) {
		return "", fmt.Errorf("%q is no host", host)
	}
	return net.JoinHostPort(host, strconv.Itoa(port)), nil
}
