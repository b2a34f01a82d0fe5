package proxy

import (
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/adit-tunnel/adit/internal/redact"
)

// defaultPorts are those of the schemes; no other scheme is taken.
var defaultPorts = map[string]string{"socks5": "1080", "socks5h": "1080", "http": "80", "https": "443"}

// Parse reads a proxy's URL: socks5://, socks5h://, http:// or https://, with an
// optional user:password@ whose special characters are percent-encoded, and an
// optional port. socks5 and socks5h are the same here.
//
// Errors repeat nothing of the text: a password with a character that is not
// encoded may turn up in any part of it.
func Parse(text string) (*Proxy, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, errors.New("proxy URL cannot be read: percent-encode special characters in its user and password")
	}
	port, known := defaultPorts[u.Scheme]
	host := u.Hostname()
	switch {
	case !known || u.Opaque != "":
		return nil, errors.New("proxy URL begins with none of socks5://, socks5h://, http:// and https://")
	case host == "":
		return nil, errors.New("proxy URL names no host")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "":
		return nil, errors.New("proxy URL has more than a host and a port: percent-encode / ? and # in its user and password")
	case !isHost(host):
		return nil, errors.New("proxy URL names a host that is none")
	case strings.HasSuffix(u.Host, ":"):
		return nil, errors.New("proxy URL ends in a colon without a port")
	case u.Port() != "":
		port = u.Port()
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, errors.New("proxy URL has a port that is not in 1 to 65535")
		}
	}
	p := &Proxy{scheme: u.Scheme, host: host, port: port}
	if err := p.setLogin(u.User); err != nil {
		return nil, err
	}
	return p, nil
}

func isHost(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil || strings.IndexFunc(s, notInNames) < 0
}

// setLogin takes the credentials that the proxy's protocol can carry.
func (p *Proxy) setLogin(user *url.Userinfo) error {
	password, _ := user.Password()
	p.username, p.password = user.Username(), redact.New(password)
	p.login = p.username != "" || password != ""
	switch {
	case p.socks() && p.login && p.username == "":
		return errors.New("proxy URL has a password without a user")
	case p.socks() && (len(p.username) > 255 || len(password) > 255): // RFC 1929, section 2
		return errors.New("proxy URL has a user or password of more than 255 bytes, which SOCKS5 cannot carry")
	case !p.socks() && strings.Contains(p.username, ":"): // RFC 7617, section 2
		return errors.New("proxy URL has a colon in the user, which HTTP cannot carry")
	}
	return nil
}
