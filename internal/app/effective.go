package app

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/forward"
	"github.com/adit-tunnel/adit/internal/store"
)

const (
	loopback     = "127.0.0.1"
	loopback6    = "::1"
	wildcard     = "0.0.0.0"
	wildcard6    = "::"
	socksPort    = 1080 // the port assigned to SOCKS
	remoteListen = "localhost"
)

// ends is where a forward listens and delivers: its stored fields with their
// fallbacks. A port that nothing gives is 0.
type ends struct {
	on          string // api.ListenHere or api.ListenServer
	listenHost  string
	listenPort  int
	deliverHost string // empty for a dynamic forward
	deliverPort int
}

// endsOf is the table "What listens where" of the control API.
func endsOf(f *store.Forward) ends {
	here := first(f.BindAddress, f.LocalHost, loopback)
	switch f.Type {
	case api.ForwardRemote:
		listen := f.BindAddress
		if listen == "" && (isWildcard(f.RemoteHost) || isLoopback(f.RemoteHost)) {
			listen = f.RemoteHost
		}
		return ends{
			on:         api.ListenServer,
			listenHost: bare(first(listen, remoteListen)), listenPort: first(f.RemotePort, f.BindPort),
			deliverHost: reachable(bare(first(f.LocalHost, loopback))), deliverPort: first(f.LocalPort, f.BindPort),
		}
	case api.ForwardDynamic:
		return ends{on: api.ListenHere, listenHost: bare(here), listenPort: first(f.BindPort, f.LocalPort, socksPort)}
	default:
		return ends{
			on:         api.ListenHere,
			listenHost: bare(here), listenPort: first(f.LocalPort, f.BindPort),
			deliverHost: bare(first(f.RemoteHost, loopback)), deliverPort: f.RemotePort,
		}
	}
}

func (e ends) listen() string { return net.JoinHostPort(e.listenHost, strconv.Itoa(e.listenPort)) }

// deliver is empty for a dynamic forward.
func (e ends) deliver() string {
	if e.deliverHost == "" {
		return ""
	}
	return net.JoinHostPort(e.deliverHost, strconv.Itoa(e.deliverPort))
}

// missing is what a start lacks of ports; nil when nothing.
func (e ends) missing(label string) *api.Error {
	switch {
	case e.deliverHost != "" && e.deliverPort == 0:
		hint := "set remotePort"
		if e.on == api.ListenServer {
			hint = "set localPort"
		}
		return &api.Error{Code: api.CodeTargetMissing, Message: fmt.Sprintf("Port forward %q has no port to deliver to", label), Hint: hint}
	case e.on == api.ListenServer && e.listenPort == 0:
		return &api.Error{
			Code: api.CodePortMissing, Message: fmt.Sprintf("Port forward %q has no port to listen on at the SSH server", label), Hint: "set remotePort",
		}
	}
	return nil
}

// effective shows ends in an answer. boundPort is the port it listens on now, 0
// while it does not.
func effective(e ends, boundPort int) *api.Effective {
	e.listenPort = first(e.listenPort, boundPort) // once the system has picked one
	shown := &api.Effective{Listen: e.listen(), ListenOn: e.on, Deliver: first(e.deliver(), api.DeliverSOCKS5)}
	if boundPort != 0 {
		shown.BoundPort = &boundPort
	}
	return shown
}

// warnings tells what a forward would do that its owner may not expect, and
// that it runs and yet found no way to its target.
func warnings(f *store.Forward, st forward.Status) []string {
	e := endsOf(f)
	told := []string{}
	if u := st.Undelivered; u != nil {
		told = append(told, fmt.Sprintf("The last connection, at %s, could not be delivered to %s: %s",
			u.At.UTC().Format(time.RFC3339), e.deliver(), u.Message))
	}
	if isLoopback(e.listenHost) {
		return told
	}
	switch {
	case f.Type == api.ForwardDynamic && f.SOCKSUsername == "":
		told = append(told, fmt.Sprintf("Anybody who can reach %s can use this SOCKS proxy: "+
			"set socksUsername and socksPassword, or set bindAddress to %s", e.listen(), loopback))
	case f.Type == api.ForwardRemote:
		told = append(told, fmt.Sprintf("The SSH server may listen on its own loopback only instead of %s: "+
			"OpenSSH does so, and says nothing, unless its GatewayPorts is yes or clientspecified", e.listenHost))
	}
	return told
}

// first is the first value that is set.
func first[T comparable](values ...T) T {
	var unset T
	for _, v := range values {
		if v != unset {
			return v
		}
	}
	return unset
}

// bare takes the brackets off an IPv6 address, and reads ssh's * for every address.
func bare(host string) string {
	if host == "*" {
		return wildcard
	}
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		return host[1 : len(host)-1]
	}
	return host
}

// reachable turns an address that only means something to a listener into the
// one to dial.
func reachable(host string) string {
	switch ip, err := netip.ParseAddr(host); {
	case err != nil || !ip.IsUnspecified():
		return host
	case ip.Is4():
		return loopback
	}
	return loopback6
}

func isWildcard(host string) bool {
	ip, err := netip.ParseAddr(bare(host))
	return err == nil && ip.IsUnspecified()
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(bare(host))
	return err == nil && ip.Unmap().IsLoopback() || strings.EqualFold(host, "localhost")
}
