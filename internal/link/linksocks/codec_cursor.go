package linksocks

import (
	"encoding/binary"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/redact"
)

// A cursor reads a message's fields one after the other. When the bytes do not
// suffice it gives zero values from there on, and short says so at the end.
type cursor struct {
	rest  []byte
	short bool
}

// take gives the next n bytes as they lie in the message. What is appended to
// them later does not touch it.
func (c *cursor) take(n uint32) []byte {
	if c.short || uint64(len(c.rest)) < uint64(n) {
		c.rest, c.short = nil, true
		return nil
	}
	b := c.rest[:n:n]
	c.rest = c.rest[n:]
	return b
}

func (c *cursor) more() bool { return len(c.rest) > 0 }

func (c *cursor) byte() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) bool() bool { return c.byte() != 0 }

func (c *cursor) uint16() uint16 {
	if b := c.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) id() (id uuid.UUID) {
	copy(id[:], c.take(uint32(len(id))))
	return id
}

// text has a length of one byte in front, block one of four.
func (c *cursor) text() []byte { return c.take(uint32(c.byte())) }

func (c *cursor) block() []byte {
	if b := c.take(4); b != nil {
		return c.take(binary.BigEndian.Uint32(b))
	}
	return nil
}

func (c *cursor) string() string        { return string(c.text()) }
func (c *cursor) secret() redact.Secret { return redact.New(c.string()) }

func (c *cursor) auth() Auth {
	return Auth{Token: c.secret(), Reverse: c.bool(), Instance: c.id()}
}

func (c *cursor) authResponse() AuthResponse {
	m := AuthResponse{OK: c.bool()}
	switch {
	case !m.OK && c.more():
		m.Cause = c.string()
	case m.OK:
		// Stock clients ignore what follows, so nothing there is an error.
		tail := cursor{rest: c.rest}
		m.Token = tail.secret()
	}
	return m
}

func (c *cursor) connect() Connect {
	m := Connect{Proto: Proto(c.byte()), Channel: c.id()}
	if m.Proto == TCP {
		m.Host, m.Port = c.string(), c.uint16()
	}
	return m
}

// data reads a Data with the payload as it came; gzipped says what it is.
func (c *cursor) data() (m Data, gzipped bool) {
	m = Data{Proto: Proto(c.byte()), Channel: c.id()}
	gzipped = c.byte() == compGzip
	m.Payload = c.block()
	if m.Proto == UDP {
		m.Source = Endpoint{Host: c.text(), Port: c.uint16()}
		m.Target = Endpoint{Host: c.text(), Port: c.uint16()}
	}
	return m, gzipped
}

func (c *cursor) connectResponse() ConnectResponse {
	m := ConnectResponse{OK: c.bool(), Channel: c.id()}
	if !m.OK {
		m.Cause = c.string()
	}
	return m
}

func (c *cursor) disconnect() Disconnect {
	m := Disconnect{Channel: c.id()}
	if c.more() {
		m.Cause = c.string()
	}
	return m
}

func (c *cursor) connector() Connector {
	return Connector{Request: c.id(), Token: c.secret(), Op: Op(c.byte())}
}

func (c *cursor) connectorResponse() ConnectorResponse {
	m := ConnectorResponse{Request: c.id(), OK: c.bool()}
	switch {
	case !m.OK:
		m.Cause = c.string()
	case c.more():
		m.Token = c.secret()
	}
	return m
}
