//go:build !unix

package server

import "net"

// awaitByte does not wait: this system cannot look at a socket without reading.
func awaitByte(net.Conn) error { return nil }
