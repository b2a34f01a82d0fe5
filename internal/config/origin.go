package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
)

// nullOrigin is what browsers call the origin of a page that has none that
// they would tell, as one opened from a file.
const nullOrigin = "null"

// parseOrigin takes a web origin exactly as a browser sends it (RFC 6454,
// section 6.2), since it is compared as a text: scheme, host, and the port
// unless it is the scheme's own.
func parseOrigin(text string) (string, error) {
	if text == nullOrigin {
		return text, nil
	}
	none := fmt.Errorf("%q is no web origin: write https://host, http://host:port or %s", text, nullOrigin)
	u, err := url.Parse(text)
	if err != nil || !hasHost(u) || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return "", none
	}
	host, port := strings.ToLower(u.Hostname()), u.Port()
	for _, r := range host {
		if r <= ' ' || r > '~' || strings.ContainsRune("*%\"'<>\\^`{|}", r) {
			return "", none
		}
	}
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is6() {
		host = "[" + host + "]"
	}
	if u.Scheme == "http" && port == "80" || u.Scheme == "https" && port == "443" {
		port = ""
	}
	if port != "" {
		host += ":" + port
	}
	if origin := u.Scheme + "://" + host; origin != text {
		return "", fmt.Errorf("%q is not what a browser sends: write %s", text, origin)
	}
	return text, nil
}
