package pipe

import (
	"crypto/tls"
	"io"
	"net"
	"net/http/httptest"
	"testing"
)

// The Close of a TLS connection says that all was sent. A stream that broke must
// not end so.
func TestAResetOverTLSIsNoCleanEnd(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	read := make(chan error, 1)
	go func() {
		c, err := ln.Accept()
		if err == nil {
			s := tls.Server(c, &tls.Config{Certificates: server.TLS.Certificates})
			defer s.Close()
			_, err = io.ReadAll(s)
		}
		read <- err
	}()
	c, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	Reset(c)
	if err := <-read; err == nil {
		t.Error("the other end sees a clean end")
	}
}
