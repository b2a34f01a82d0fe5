package handshake

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// defaultPath is where relays wait for upgrade requests.
const defaultPath = "/socket"

var schemePrefix = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)

// NormalizeURL reads a relay's URL as people write it. Without a scheme it is
// wss; http is ws, and https is wss. An empty path and / are /socket; any other
// is left alone, and so is the query.
//
// Errors say what is wrong, and repeat no query and no credentials.
func NormalizeURL(text string) (*url.URL, error) {
	if text == "" {
		return nil, errors.New("relay URL is empty")
	}
	if !schemePrefix.MatchString(text) {
		text = "wss://" + strings.TrimPrefix(text, "//")
	}
	// What may be secret is looked for before the rest is parsed, since errors
	// of package url repeat what they do not understand.
	plain := text[:len(text)-len(afterAny(text, "?#"))]
	authority, _, _ := strings.Cut(plain[strings.Index(plain, "://")+3:], "/")
	if strings.Contains(authority, "@") {
		return nil, errors.New("relay URL has a user or password, which WebSocket does not know")
	}
	if _, err := url.Parse(plain); err != nil {
		var detail *url.Error
		if errors.As(err, &detail) {
			err = detail.Err
		}
		return nil, fmt.Errorf("relay URL cannot be read: %w", err)
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("relay URL cannot be read: the part from ? or # on is wrong")
	}
	if err := settle(u); err != nil {
		return nil, err
	}
	if u.Path == "" || u.Path == "/" {
		u.Path, u.RawPath = defaultPath, ""
	}
	return u, nil
}

// afterAny is what of s begins with one of chars, empty if nothing does.
func afterAny(s, chars string) string {
	if i := strings.IndexAny(s, chars); i >= 0 {
		return s[i:]
	}
	return ""
}

// settle makes u a ws or wss URL that can be dialled, or says why it is none.
func settle(u *url.URL) error {
	switch u.Scheme {
	case "ws", "wss":
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	default:
		return fmt.Errorf("relay URL has the scheme %q, which is none of ws, wss, http and https", u.Scheme)
	}
	switch {
	case u.User != nil:
		return errors.New("relay URL has a user or password, which WebSocket does not know")
	case u.Hostname() == "":
		return errors.New("relay URL names no host")
	case strings.HasSuffix(u.Host, ":"):
		return errors.New("relay URL has a colon without a port")
	case u.Fragment != "": // RFC 6455, section 3
		return errors.New("relay URL has a fragment (#), which WebSocket does not know")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("relay URL has the port %s, which is not in 1 to 65535", port)
		}
	}
	return nil
}

// hostPort is what u is dialled at.
func hostPort(u *url.URL) string {
	switch {
	case u.Port() != "":
		return u.Host
	case u.Scheme == "wss":
		return u.Host + ":443"
	}
	return u.Host + ":80"
}
