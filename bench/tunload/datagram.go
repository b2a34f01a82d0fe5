package main

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/url"
	"time"
)

// answerTimeout is after how long a datagram counts as lost.
const answerTimeout = time.Second

// udp sends l.n datagrams through a SOCKS5 UDP association and waits for each echo.
func (l *load) udp(ctx context.Context, res *result) error {
	proxy, err := url.Parse(l.via)
	if err != nil || proxy.Scheme != "socks5" {
		return errors.New("udp needs -via socks5://")
	}
	var d net.Dialer
	// The association lives as long as this connection.
	ctl, err := d.DialContext(ctx, "tcp", proxy.Host)
	if err != nil {
		return err
	}
	defer ctl.Close()
	bound(ctx, ctl)
	relay, err := associate(ctl, proxy)
	if err != nil {
		return err
	}
	c, err := d.DialContext(ctx, "udp", relay)
	if err != nil {
		return err
	}
	defer c.Close()
	to, err := socksAddress(l.target)
	if err != nil {
		return err
	}
	payload := pattern[:l.size]
	packet := append(append([]byte{0, 0, 0}, to...), payload...)
	in := make([]byte, 64<<10)
	var took []time.Duration
	for range l.n {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		t := time.Now()
		n, err := exchange(c, packet, in)
		if err != nil {
			res.fail(err)
			continue
		}
		took = append(took, time.Since(t))
		if !bytes.HasSuffix(in[:n], payload) {
			res.spoiled()
		}
	}
	res.quantiles(took)
	return nil
}

func exchange(c net.Conn, packet, in []byte) (int, error) {
	if _, err := c.Write(packet); err != nil {
		return 0, err
	}
	if err := c.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
		return 0, err
	}
	return c.Read(in)
}

// associate asks for a UDP association and returns where to send its datagrams.
func associate(ctl net.Conn, proxy *url.URL) (string, error) {
	if err := socksLogin(ctl, proxy.User); err != nil {
		return "", err
	}
	relay, err := socksRequest(ctl, socksAssociate, "0.0.0.0:0")
	if err != nil {
		return "", err
	}
	host, port, err := net.SplitHostPort(relay)
	if err != nil {
		return "", err
	}
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = proxy.Hostname() // it means: where you reached me
	}
	return net.JoinHostPort(host, port), nil
}
