//go:build !unix

package socket

import (
	"io"
	"net"
)

// NewReader gives what reads conn.
func NewReader(conn *net.TCPConn) io.Reader { return conn }

// NewWriter gives what writes to conn.
func NewWriter(conn *net.TCPConn) io.Writer { return conn }
