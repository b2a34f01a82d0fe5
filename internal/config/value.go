package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/adit-tunnel/adit/internal/policy"
	"github.com/adit-tunnel/adit/internal/proxy"
	"github.com/adit-tunnel/adit/internal/redact"
)

// The bounds of --min-password, in characters. A longer minimum than 128 would
// refuse every pass phrase a person types.
const (
	leastMinPassword = 8
	mostMinPassword  = 128
)

// maxShort is the longest text with a length of one byte: a token of the
// relay's protocol, a SOCKS user name or password (RFC 1929, section 2).
const maxShort = 255

// threadsPerCPU bounds --threads.
const threadsPerCPU = 100

// PortRange is the ports from First to Last, both included: 1 to 65535.
type PortRange struct{ First, Last int }

// Contains reports whether port is one of the range.
func (r PortRange) Contains(port int) bool { return r.First <= port && port <= r.Last }

// String gives PORT or PORT-PORT.
func (r PortRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(r.First)
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

func parsePortRange(text string) (PortRange, error) {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	from, err := strconv.ParseUint(first, 10, 16)
	to, err2 := strconv.ParseUint(last, 10, 16)
	if err != nil || err2 != nil || from == 0 || from > to {
		return PortRange{}, fmt.Errorf("%q is no range of ports: write 1080 or 1024-10240", text)
	}
	return PortRange{int(from), int(to)}, nil
}

// parsePort takes 0 too, for which the system or the relay picks one.
func parsePort(text string) (int, error) {
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q is no port: write a number from 0 to 65535", text)
	}
	return int(port), nil
}

// parseAddress takes host:port with a numeric port. The host may be empty
// (every address), an IP or a name, which is resolved when it is listened on.
func parseAddress(text string) (string, error) {
	host, port, err := net.SplitHostPort(text)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || strings.ContainsAny(host, " \t/") {
		return "", fmt.Errorf("%q is no address: write host:port, as in 127.0.0.1:3000 or [::1]:3000", text)
	}
	return text, nil
}

func parseAddressOrOff(text string) (string, error) {
	if text == Off {
		return "", nil
	}
	address, err := parseAddress(text)
	if err != nil {
		return "", fmt.Errorf("%w, or %q", err, Off)
	}
	return address, nil
}

// parseHost takes an IP, in brackets or not, or a name.
func parseHost(text string) (string, error) {
	host := text
	if inner, ok := strings.CutPrefix(text, "["); ok {
		host, ok = strings.CutSuffix(inner, "]")
		if !ok || !strings.Contains(host, ":") {
			host = ""
		}
	}
	_, err := netip.ParseAddr(host)
	if host == "" || err != nil && strings.ContainsAny(host, " \t/:[]") {
		return "", fmt.Errorf("%q is no host: write an IP or a name without a port, as in 127.0.0.1 or ::1", text)
	}
	return host, nil
}

// parsePrefix takes an address for the range of it alone.
func parsePrefix(text string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		address, err := netip.ParseAddr(text)
		if err != nil || address.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%q is no range of addresses: write a CIDR or an IP, as in 10.0.0.0/8 or 10.0.0.1", text)
		}
		address = address.Unmap()
		return netip.PrefixFrom(address, address.BitLen()), nil
	}
	if prefix.Addr().Is4In6() {
		if prefix.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("%q is a range of IPv4 addresses and others: write IPv4 as 10.0.0.0/8", text)
		}
		prefix = netip.PrefixFrom(prefix.Addr().Unmap(), prefix.Bits()-96)
	}
	return prefix.Masked(), nil
}

// parseAPIKey takes what can stand in an HTTP header.
func parseAPIKey(text string) (redact.Secret, error) {
	for _, r := range text {
		if r <= ' ' || r > '~' {
			return redact.Secret{}, errors.New("holds a space or a character outside printable ASCII, which no HTTP header can carry")
		}
	}
	return redact.New(text), nil
}

func parseToken(text string) (redact.Secret, error) {
	if len(text) > maxShort {
		return redact.Secret{}, fmt.Errorf("is longer than %d bytes, the most that a token may have", maxShort)
	}
	return redact.New(text), nil
}

func parseSOCKSUsername(text string) (string, error) {
	if len(text) > maxShort {
		return "", fmt.Errorf("is longer than the %d bytes that SOCKS5 can carry", maxShort)
	}
	return text, nil
}

func parseSOCKSPassword(text string) (redact.Secret, error) {
	password, err := parseSOCKSUsername(text)
	return redact.New(password), err
}

// parseProxy keeps a proxy's URL as its text, which may hold a password: package
// proxy repeats no part of it in its errors.
func parseProxy(text string) (redact.Secret, error) {
	_, err := proxy.Parse(text)
	return redact.New(text), err
}

// hasHost reports whether u names a host, and a port if it has one. An IPv6
// address without brackets, which url.Parse takes, could end anywhere.
func hasHost(u *url.URL) bool {
	host, port := u.Hostname(), u.Port()
	n, err := strconv.ParseUint(port, 10, 16)
	return host != "" && (!strings.Contains(host, ":") || u.Host[0] == '[') && (port == "" || err == nil && n > 0)
}

// parseRelayURL makes what linksocks makes of a relay's address: without a
// scheme it is wss, http means ws, and without a path it is /socket. The text
// may hold a secret where none belongs, so it is not in the errors.
func parseRelayURL(text string) (string, error) {
	if !strings.Contains(text, "://") {
		text = "wss://" + text
	}
	u, err := url.Parse(text)
	if err != nil || !hasHost(u) {
		return "", errors.New("is no URL of a relay: write ws://host:port or wss://host")
	}
	switch u.Scheme {
	case "ws", "wss":
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	default:
		return "", errors.New("has a scheme that is not one of ws, wss, http, https")
	}
	if u.User != nil {
		return "", errors.New("holds a user name, which a relay does not ask for: give its token as --token")
	}
	u.Fragment = "" // it is the browser's own, no server sees it
	if u.Path == "" || u.Path == "/" {
		u.Path = "/socket"
	}
	return u.String(), nil
}

func parseBool(text string) (bool, error) {
	switch strings.ToLower(text) {
	case "true", "yes", "1":
		return true, nil
	case "false", "no", "0":
		return false, nil
	}
	return false, fmt.Errorf("%q is not one of true, false, yes, no, 1, 0", text)
}

// parseDebug takes a depth too, as --debug=2: one is as deep as it gets.
func parseDebug(text string) (bool, error) {
	if depth, err := strconv.ParseUint(text, 10, 16); err == nil {
		return depth > 0, nil
	}
	return parseBool(text)
}

// parseThreads takes 0 for 1, a negative number for one a CPU, and of too many
// as many as are allowed.
func parseThreads(text string) (int, error) {
	n, err := strconv.Atoi(text)
	switch {
	case errors.Is(err, strconv.ErrSyntax):
		return 0, fmt.Errorf("%q is not a whole number", text)
	case n < 0:
		return runtime.NumCPU(), nil
	}
	return min(max(n, 1), threadsPerCPU*runtime.NumCPU()), nil // Atoi stops at the largest number
}

func parseMinPassword(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < leastMinPassword || n > mostMinPassword {
		return 0, fmt.Errorf("%q is not a whole number from %d to %d", text, leastMinPassword, mostMinPassword)
	}
	return n, nil
}

// oneOf takes the choices as they are written.
func oneOf(choices ...string) func(text string) (string, error) {
	return func(text string) (string, error) {
		for _, choice := range choices {
			if text == choice {
				return text, nil
			}
		}
		return "", fmt.Errorf("%q is not one of %s", text, strings.Join(choices, ", "))
	}
}

func parseLogLevel(text string) (slog.Level, error) {
	name, err := oneOf("debug", "info", "warn", "error")(text)
	if err != nil {
		return 0, err
	}
	var level slog.Level
	err = level.UnmarshalText([]byte(name))
	return level, err
}

func parseDuration(text string) (time.Duration, error) {
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no duration: write a number and a unit, as in 10s or 1m30s", text)
	}
	return d, nil
}

// parseSpan takes a duration that something lasts, and so not 0.
func parseSpan(text string) (time.Duration, error) {
	d, err := parseDuration(text)
	if err == nil && d == 0 {
		return 0, fmt.Errorf("%q is no time at all: give more than 0", text)
	}
	return d, err
}

// parseRule keeps a rule of package policy as its text.
func parseRule(text string) (string, error) {
	_, err := policy.ParseRule(text)
	return text, err
}

func parsePath(text string) (string, error) {
	path, err := filepath.Abs(text)
	if err != nil {
		return "", fmt.Errorf("make %q absolute: %w", text, err)
	}
	return path, nil
}
