package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
)

// dialer opens one connection over the path that is measured.
type dialer func(ctx context.Context) (net.Conn, error)

func dialerFor(via, target string) (dialer, error) {
	if via == "direct" {
		return tcpDialer(target), nil
	}
	u, err := url.Parse(via)
	if err != nil {
		return nil, err
	}
	switch u.Scheme {
	case "tcp":
		return tcpDialer(u.Host), nil
	case "socks5":
		return socksDialer(u, target), nil
	}
	return nil, fmt.Errorf("unknown path %q", via)
}

func tcpDialer(address string) dialer {
	return func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", address)
	}
}

func socksDialer(proxy *url.URL, target string) dialer {
	toProxy := tcpDialer(proxy.Host)
	return func(ctx context.Context) (net.Conn, error) {
		c, err := toProxy(ctx)
		if err != nil {
			return nil, err
		}
		bound(ctx, c)
		err = socksLogin(c, proxy.User)
		if err == nil {
			_, err = socksRequest(c, socksConnect, target)
		}
		if err != nil {
			c.Close()
			return nil, err
		}
		return c, nil
	}
}

// bound makes a connection fail when the test's time is up.
func bound(ctx context.Context, c net.Conn) {
	if d, ok := ctx.Deadline(); ok {
		c.SetDeadline(d)
	}
}

// Of RFC 1928 and RFC 1929.
const (
	socksVersion   = 5
	socksOpen      = 0 // method: no authentication
	socksPassword  = 2 // method: user name and password
	socksConnect   = 1
	socksAssociate = 3
	socksIPv4      = 1
	socksName      = 3
	socksIPv6      = 4
)

// socksLogin agrees on a method and, with a user, logs in (RFC 1929).
func socksLogin(c net.Conn, user *url.Userinfo) error {
	method := byte(socksOpen)
	if user != nil {
		method = socksPassword
	}
	var reply [2]byte
	if err := roundTrip(c, []byte{socksVersion, 1, method}, reply[:]); err != nil {
		return err
	}
	if reply[1] != method {
		return fmt.Errorf("SOCKS5 method %d refused: %d", method, reply[1])
	}
	if user == nil {
		return nil
	}
	name, password := user.Username(), ""
	password, _ = user.Password()
	msg := append([]byte{1, byte(len(name))}, name...)
	msg = append(append(msg, byte(len(password))), password...)
	if err := roundTrip(c, msg, reply[:]); err != nil {
		return err
	}
	if reply[1] != 0 {
		return errors.New("SOCKS5 password refused")
	}
	return nil
}

func roundTrip(c net.Conn, out, in []byte) error {
	if _, err := c.Write(out); err != nil {
		return err
	}
	_, err := io.ReadFull(c, in)
	return err
}

// socksAddress encodes an address as requests and datagrams carry it (RFC 1928, section 5).
func socksAddress(address string) ([]byte, error) {
	host, text, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return nil, err
	}
	var b []byte
	if ip := net.ParseIP(host); ip == nil {
		b = append([]byte{socksName, byte(len(host))}, host...)
	} else if v4 := ip.To4(); v4 != nil {
		b = append([]byte{socksIPv4}, v4...)
	} else {
		b = append([]byte{socksIPv6}, ip.To16()...)
	}
	return binary.BigEndian.AppendUint16(b, uint16(port)), nil
}

// socksRequest makes a request and returns the address of the reply (RFC 1928, section 6).
func socksRequest(c net.Conn, command byte, address string) (string, error) {
	to, err := socksAddress(address)
	if err != nil {
		return "", err
	}
	var head [4]byte
	if err := roundTrip(c, append([]byte{socksVersion, command, 0}, to...), head[:]); err != nil {
		return "", err
	}
	if head[1] != 0 {
		return "", fmt.Errorf("SOCKS5 reply %d", head[1])
	}
	size := 0
	switch head[3] {
	case socksIPv4:
		size = net.IPv4len
	case socksIPv6:
		size = net.IPv6len
	case socksName:
		var length [1]byte
		if _, err := io.ReadFull(c, length[:]); err != nil {
			return "", err
		}
		size = int(length[0])
	}
	rest := make([]byte, size+2)
	if _, err := io.ReadFull(c, rest); err != nil {
		return "", err
	}
	host := string(rest[:size])
	if head[3] != socksName {
		host = net.IP(rest[:size]).String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(rest[size:])))), nil
}
