package proxy

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/adit-tunnel/adit/internal/site"
)

// maxHead bounds the head of an answer, interim ones included, in bytes.
const maxHead = 16 << 10

// askHTTP asks an HTTP proxy for the target (RFC 9110, section 9.3.6). It reads
// exactly the head of the answer: what comes behind is the target's.
func (p *Proxy) askHTTP(c io.ReadWriter, t target) error {
	var b strings.Builder
	fmt.Fprintf(&b, "CONNECT %v HTTP/1.1\r\nHost: %v\r\n", t, t)
	if p.login {
		login := base64.StdEncoding.EncodeToString([]byte(p.username + ":" + p.password.Reveal()))
		b.WriteString("Proxy-Authorization: Basic " + login + "\r\n")
	}
	b.WriteString("\r\n")
	if _, err := io.WriteString(c, b.String()); err != nil {
		return fmt.Errorf("send it the request: %w", err)
	}
	status, err := readStatus(c)
	if err != nil {
		return err
	}
	return p.judge(status)
}

// judge is what a status means to who asked for a target.
func (p *Proxy) judge(status int) error {
	reason := site.Other
	switch status {
	case http.StatusProxyAuthRequired:
		if p.login {
			return fail(site.Other, "it refused the credentials (407)")
		}
		return fail(site.Other, "it wants credentials (407), and its URL has none")
	case http.StatusForbidden:
		reason = site.Denied
	case http.StatusBadGateway, http.StatusServiceUnavailable:
		reason = site.HostUnreachable
	case http.StatusGatewayTimeout:
		reason = site.TimedOut
	}
	if status < 200 || status > 299 {
		return fail(reason, "it answered %s", strings.TrimSpace(fmt.Sprintf("%d %s", status, http.StatusText(status))))
	}
	return nil
}

// readStatus reads the head of the final answer to its last byte and gives its
// status. The fields are nothing to us: a 2xx has no body, whatever they say.
func readStatus(r io.Reader) (int, error) {
	h := head{r: r, left: maxHead}
	for {
		line, err := h.line()
		if err != nil {
			return 0, err
		}
		status, ok := parseStatusLine(line)
		if !ok {
			// Known from the first line on; what does not speak HTTP may never end a head.
			return 0, fail(site.Other, "it does not speak HTTP/1")
		}
		for line != "" {
			if line, err = h.line(); err != nil {
				return 0, err
			}
		}
		if status >= 200 || status == http.StatusSwitchingProtocols {
			return status, nil
		}
	}
}

// head reads lines a byte at a time, and so nothing of what is behind them.
type head struct {
	r    io.Reader
	left int // bytes that it may still have
}

// line gives the next line without its end, CRLF or LF.
func (h *head) line() (string, error) {
	var line []byte
	var b [1]byte
	for {
		if h.left == 0 {
			return "", fail(site.Other, "its answer is longer than %d bytes", maxHead)
		}
		if _, err := io.ReadFull(h.r, b[:]); err != nil {
			return "", unanswered(err)
		}
		h.left--
		if b[0] == '\n' {
			return strings.TrimSuffix(string(line), "\r"), nil
		}
		line = append(line, b[0])
	}
}

// parseStatusLine gives the status of "HTTP/1.1 200 any words" (RFC 9112, section 4).
func parseStatusLine(line string) (status int, ok bool) {
	rest, ok := strings.CutPrefix(line, "HTTP/1.")
	if !ok || len(rest) < len("1 200") || !digit(rest[0]) || rest[1] != ' ' {
		return 0, false
	}
	for _, c := range []byte(rest[2:5]) {
		if !digit(c) {
			return 0, false
		}
		status = 10*status + int(c-'0')
	}
	if len(rest) > 5 && rest[5] != ' ' {
		return 0, false
	}
	return status, status >= 100
}

func digit(c byte) bool { return '0' <= c && c <= '9' }
