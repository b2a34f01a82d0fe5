package proxy

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
)

// FromEnvironment gives the proxy that the environment names for a ws or wss
// URL, nil if none: HTTP_PROXY for ws and HTTPS_PROXY for wss, else ALL_PROXY,
// each in lower case where that is unset. A value without a scheme is an HTTP
// proxy. This machine itself and the hosts of NO_PROXY have none: a comma
// separated list of IP addresses, CIDRs, names (with all below them), .names or
// *.names (only what is below), each but a CIDR with an optional :port, and * for all.
//
// Errors name the variable and not its value.
func FromEnvironment(target *url.URL) (*Proxy, error) {
	name, port := "HTTP_PROXY", "80"
	if target.Scheme == "wss" {
		name, port = "HTTPS_PROXY", "443"
	}
	value := variable(name)
	if value == "" {
		name = "ALL_PROXY"
		value = variable(name)
	}
	if target.Port() != "" {
		port = target.Port()
	}
	host := strings.TrimSuffix(strings.ToLower(target.Hostname()), ".")
	if value == "" || isHere(host) || listed(variable("NO_PROXY"), host, port) {
		return nil, nil
	}
	if !strings.Contains(value, "://") {
		value = "http://" + value
	}
	p, err := Parse(value)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

func variable(name string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return os.Getenv(strings.ToLower(name))
}

func isHere(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.Unmap().IsLoopback()
}

// listed reports whether NO_PROXY's list has the host, which is in lower case.
func listed(list, host, port string) bool {
	ip, _ := netip.ParseAddr(host)
	ip = ip.Unmap()
	for entry := range strings.SplitSeq(strings.ToLower(list), ",") {
		entry = strings.TrimSpace(entry)
		if prefix, err := netip.ParsePrefix(entry); err == nil {
			if prefix.Contains(ip) {
				return true
			}
			continue
		}
		name, only, err := net.SplitHostPort(entry)
		if err != nil {
			name, only = strings.Trim(entry, "[]"), ""
		}
		if (only == "" || only == port) && matches(name, host, ip) {
			return true
		}
	}
	return false
}

// matches compares one name or address of the list, which may be empty.
func matches(name, host string, ip netip.Addr) bool {
	if addr, err := netip.ParseAddr(name); err == nil {
		return addr.Unmap() == ip
	}
	below, all := strings.CutPrefix(name, "*")
	switch {
	case name == "":
		return false
	case all && below == "":
		return true
	case strings.HasPrefix(below, "."):
		return strings.HasSuffix(host, below)
	}
	return host == name || strings.HasSuffix(host, "."+name)
}
