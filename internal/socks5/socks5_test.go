package socks5

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/internal/redact"
)

// locked is a server with credentials.
func locked() *Server { return &Server{Username: "ann", Password: redact.New("s3cret")} }

func TestHandshakeReadsTheRequest(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("a", 255)
	v6 := []byte{0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}
	mapped := []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 0, 0, 1}
	tests := []struct {
		name    string
		request []byte
		want    Request
		address string
	}{
		{"IPv4", toIPv4, Request{Connect, "192.0.2.7", 80}, "192.0.2.7:80"},
		{"IPv6", join(5, 1, 0, 4, v6, 1, 187), Request{Connect, "2001:db8::1", 443}, "[2001:db8::1]:443"},
		{"mapped IPv4", join(5, 1, 0, 4, mapped, 0, 22), Request{Connect, "::ffff:10.0.0.1", 22}, "[::ffff:10.0.0.1]:22"},
		{"name", join(5, 1, 0, 3, 11, "example.com", 0, 80), Request{Connect, "example.com", 80}, "example.com:80"},
		{"name as it was sent", join(5, 1, 0, 3, 9, "Db_1.LAN.", 0, 80), Request{Connect, "Db_1.LAN.", 80}, "Db_1.LAN.:80"},
		{"name of one byte", join(5, 1, 0, 3, 1, "a", 0, 80), Request{Connect, "a", 80}, "a:80"},
		{"longest name", join(5, 1, 0, 3, 255, long, 255, 255), Request{Connect, long, 65535}, long + ":65535"},
		{"IPv4 as a name", join(5, 1, 0, 3, 9, "127.0.0.1", 0, 80), Request{Connect, "127.0.0.1", 80}, "127.0.0.1:80"},
		{"IPv6 as a name", join(5, 1, 0, 3, 3, "::1", 0, 80), Request{Connect, "::1", 80}, "[::1]:80"},
		{"IPv6 with a zone", join(5, 1, 0, 3, 12, "fe80::1%eth0", 0, 80), Request{Connect, "fe80::1%eth0", 80}, "[fe80::1%eth0]:80"},
		{"a spelling of an address", join(5, 1, 0, 3, 6, "0x7f.1", 0, 80), Request{Connect, "0x7f.1", 80}, "0x7f.1:80"},
		{"bind", join(5, 2, 0, 1, 0, 0, 0, 0, 0, 0), Request{Bind, "0.0.0.0", 0}, "0.0.0.0:0"},
		{"associate", join(5, 3, 0, 1, 0, 0, 0, 0, 0, 0), Request{Associate, "0.0.0.0", 0}, "0.0.0.0:0"},
		{"RSV set", join(5, 1, 0xaa, 1, 192, 0, 2, 7, 0, 80), Request{Connect, "192.0.2.7", 80}, "192.0.2.7:80"},
	}
	early := []byte("GET / HTTP/1.0\r\n\r\n")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, chunk := range []int{0, 1, 2, 3, 7} {
				c := &script{in: join(greetOpen, tt.request, early), chunk: chunk}
				got, err := new(Server).Handshake(c)
				if err != nil || got != tt.want {
					t.Fatalf("in chunks of %d: got %+v, %v; want %+v", chunk, got, err, tt.want)
				}
				if got.Address() != tt.address {
					t.Errorf("address is %q, want %q", got.Address(), tt.address)
				}
				if !bytes.Equal(c.in, early) {
					t.Errorf("in chunks of %d: %q is left to read, want %q", chunk, c.in, early)
				}
				if want := []byte{5, 0}; !bytes.Equal(c.out.Bytes(), want) {
					t.Errorf("answered % x, want % x", c.out.Bytes(), want)
				}
				if c.deadlines != 2 || !c.deadline.IsZero() {
					t.Errorf("%d deadlines were set, the last is %v; want 2, cleared", c.deadlines, c.deadline)
				}
			}
		})
	}
}

func TestHandshakeLeavesWhatFollowsTheRequestWhereverTheBytesAreCut(t *testing.T) {
	t.Parallel()
	shortest := join(5, 1, 0, 3, 1, "a", 0, 80)
	methods := make([]byte, 20) // all of them "no authentication"
	for _, tt := range []struct {
		server *Server
		in     []byte
	}{
		{new(Server), join(greetOpen, shortest)},
		{new(Server), join(5, len(methods), methods, shortest)},
		{new(Server), join(greetOpen, toIPv4)},
		{&Server{Username: "u"}, join(greetAuth, auth("u", ""), shortest)},
		{&Server{Password: redact.New("p")}, join(greetAuth, auth("", "p"), shortest)},
		{locked(), join(greetAuth, auth("ann", "s3cret"), shortest)},
	} {
		for first := 1; first <= len(tt.in); first++ {
			for _, chunk := range []int{0, 1, 2, 3, 4, 5} {
				c := &script{in: join(tt.in, "early data"), first: first, chunk: chunk}
				if _, err := tt.server.Handshake(c); err != nil || string(c.in) != "early data" {
					t.Errorf("% x, cut behind byte %d and then every %d: %q is left, %v", tt.in, first, chunk, c.in, err)
				}
			}
		}
	}
}

func TestHandshakeChoosesAMethodThatIsOfferedAndRequired(t *testing.T) {
	t.Parallel()
	all := make([]byte, 255)
	for i := range all {
		all[i] = byte(i)
	}
	passOnly, userOnly := &Server{Password: redact.New("s3cret")}, &Server{Username: "ann"}
	tests := []struct {
		name    string
		server  *Server
		methods []byte
		auth    []byte
		answer  []byte
		want    error
	}{
		{"open, offered", new(Server), []byte{0}, nil, []byte{5, 0}, nil},
		{"open, offered last", new(Server), []byte{1, 2, 0}, nil, []byte{5, 0}, nil},
		{"open, all offered", new(Server), all, nil, []byte{5, 0}, nil},
		{"open, only password offered", new(Server), []byte{2}, nil, []byte{5, 0xff}, ErrNoMethod},
		{"open, nothing offered", new(Server), nil, nil, []byte{5, 0xff}, ErrNoMethod},
		{"open, 0xff offered", new(Server), []byte{0xff}, nil, []byte{5, 0xff}, ErrNoMethod},
		{"locked, right", locked(), []byte{2}, auth("ann", "s3cret"), []byte{5, 2, 1, 0}, nil},
		{"locked, both offered", locked(), []byte{0, 2}, auth("ann", "s3cret"), []byte{5, 2, 1, 0}, nil},
		{"locked, all offered", locked(), all, auth("ann", "s3cret"), []byte{5, 2, 1, 0}, nil},
		{"locked, only open offered", locked(), []byte{0}, nil, []byte{5, 0xff}, ErrNoMethod},
		{"locked, GSSAPI offered", locked(), []byte{0, 1}, nil, []byte{5, 0xff}, ErrNoMethod},
		{"locked, nothing offered", locked(), nil, nil, []byte{5, 0xff}, ErrNoMethod},
		{"wrong password", locked(), []byte{2}, auth("ann", "s3creT"), []byte{5, 2, 1, 1}, ErrAuth},
		{"wrong user", locked(), []byte{2}, auth("anne", "s3cret"), []byte{5, 2, 1, 1}, ErrAuth},
		{"both wrong", locked(), []byte{2}, auth("bob", "secret"), []byte{5, 2, 1, 1}, ErrAuth},
		{"border moved", locked(), []byte{2}, auth("anns", "3cret"), []byte{5, 2, 1, 1}, ErrAuth},
		{"both empty", locked(), []byte{2}, auth("", ""), []byte{5, 2, 1, 1}, ErrAuth},
		{"no password", locked(), []byte{2}, auth("ann", ""), []byte{5, 2, 1, 1}, ErrAuth},
		{"longest", locked(), []byte{2}, auth(strings.Repeat("a", 255), strings.Repeat("b", 255)), []byte{5, 2, 1, 1}, ErrAuth},
		{"authentication of version 5", locked(), []byte{2}, join(5, 3, "ann", 6, "s3cret"), []byte{5, 2, 1, 1}, ErrVersion},
		{"password without user, right", passOnly, []byte{2}, auth("", "s3cret"), []byte{5, 2, 1, 0}, nil},
		{"password without user, wrong", passOnly, []byte{2}, auth("", ""), []byte{5, 2, 1, 1}, ErrAuth},
		{"password without user, not offered", passOnly, []byte{0}, nil, []byte{5, 0xff}, ErrNoMethod},
		{"user without password, right", userOnly, []byte{2}, auth("ann", ""), []byte{5, 2, 1, 0}, nil},
		{"user without password, not offered", userOnly, []byte{0}, nil, []byte{5, 0xff}, ErrNoMethod},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, chunk := range []int{0, 1} {
				c := &script{in: join(5, len(tt.methods), tt.methods, tt.auth, toIPv4, "early"), chunk: chunk}
				req, err := tt.server.Handshake(c)
				if !errors.Is(err, tt.want) {
					t.Fatalf("error is %v, want %v", err, tt.want)
				}
				if !bytes.Equal(c.out.Bytes(), tt.answer) {
					t.Errorf("answered % x, want % x", c.out.Bytes(), tt.answer)
				}
				if err == nil && (req.Address() != "192.0.2.7:80" || string(c.in) != "early") {
					t.Errorf("got %+v with %q left", req, c.in)
				}
			}
		})
	}
}

func TestHandshakeTellsTheClientWhyItIsRefused(t *testing.T) {
	t.Parallel()
	refusal := func(code byte) []byte { return []byte{5, 0, 5, code, 0, 1, 0, 0, 0, 0, 0, 0} }
	named := func(name string) []byte { return join(greetOpen, 5, 1, 0, 3, len(name), name, 0, 80) }
	tests := []struct {
		name   string
		in     []byte
		answer []byte
		want   error
	}{
		{"version of the request", join(greetOpen, 4, 1, 0, 1, 192, 0, 2, 7, 0, 80), refusal(1), ErrVersion},
		{"command 0", join(greetOpen, 5, 0, 0, 1, 192, 0, 2, 7, 0, 80), refusal(7), ErrCommand},
		{"command 4", join(greetOpen, 5, 4, 0, 1, 192, 0, 2, 7, 0, 80), refusal(7), ErrCommand},
		{"command of another", join(greetOpen, 5, 0xf0, 0, 3, 1, "a", 0, 80), refusal(7), ErrCommand},
		{"address type 0", join(greetOpen, 5, 1, 0, 0, 192, 0, 2, 7, 0, 80), refusal(8), ErrAddressType},
		{"address type 2", join(greetOpen, 5, 1, 0, 2, 192, 0, 2, 7, 0, 80), refusal(8), ErrAddressType},
		{"address type, and no more sent", join(greetOpen, 5, 1, 0, 5), refusal(8), ErrAddressType},
		{"empty name", named(""), refusal(1), ErrName},
		{"name with a blank", named("exa mple.com"), refusal(1), ErrName},
		{"name with a NUL", named("127.0.0.1\x00.example.com"), refusal(1), ErrName},
		{"name with a line feed", named("a\nb"), refusal(1), ErrName},
		{"name with an escape", named("\x1b[2Ja"), refusal(1), ErrName},
		{"name with a port", named("example.com:80"), refusal(1), ErrName},
		{"name with a path", named("/run/docker.sock"), refusal(1), ErrName},
		{"name in UTF-8", named("bücher.example"), refusal(1), ErrName},
		{"digits of another script", named("１２７.0.0.1"), refusal(1), ErrName},
		{"no UTF-8", named("\xff\xfe"), refusal(1), ErrName},
		{"a dot alone", named("."), refusal(1), ErrName},
		{"empty label", named("a..b"), refusal(1), ErrName},
		{"empty first label", named(".a"), refusal(1), ErrName},
		{"brackets", named("[::1]"), refusal(1), ErrName},
		{"zone with a line feed", named("fe80::1%a\nb"), refusal(1), ErrName},
		{"IPv4 with a zone", named("127.0.0.1%lo"), refusal(1), ErrName},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, chunk := range []int{0, 1} {
				c := &script{in: tt.in, chunk: chunk, slow: true}
				req, err := new(Server).Handshake(c)
				if !errors.Is(err, tt.want) || req != (Request{}) {
					t.Fatalf("got %+v, error %v; want %v", req, err, tt.want)
				}
				if !bytes.Equal(c.out.Bytes(), tt.answer) {
					t.Errorf("answered % x, want % x", c.out.Bytes(), tt.answer)
				}
			}
		})
	}
}

func TestHandshakeReadsAllOfARequestWithAnUnknownCommand(t *testing.T) {
	t.Parallel()
	c := &script{in: join(greetOpen, 5, 9, 0, 3, 11, "example.com", 0, 80), chunk: 1}
	if _, err := new(Server).Handshake(c); !errors.Is(err, ErrCommand) || len(c.in) != 0 {
		t.Errorf("error %v with % x unread, which would reset the connection and lose the reply", err, c.in)
	}
}

func TestHandshakeNamesTheProtocolThatAClientSpeaks(t *testing.T) {
	t.Parallel()
	tests := []struct{ in, want string }{
		{"\x04\x01\x00\x50\xc0\x00\x02\x07ann\x00", "SOCKS4"},
		{"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "HTTP"},
		{"CONNECT a:443 HTTP/1.1\r\n\r\n", "HTTP"},
		{"\x16\x03\x01\x02\x00\x01\x00\x01", "TLS"},
		{"\x00\x00", "0x00"},
		{"\x06\x01\x00", "0x06"},
	}
	for _, tt := range tests {
		c := &script{in: []byte(tt.in)}
		_, err := new(Server).Handshake(c)
		if !errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: error is %v, want ErrVersion with %q", tt.in, err, tt.want)
		}
		if c.out.Len() > 0 {
			t.Errorf("%q: answered % x to a client that speaks no SOCKS5", tt.in, c.out.Bytes())
		}
	}
}

func TestHandshakeTellsAClientThatLeftFromOneThatNeverSpoke(t *testing.T) {
	t.Parallel()
	whole := join(greetAuth, auth("ann", "s3cret"), 5, 1, 0, 3, 4, "host", 0, 80)
	for n := range whole {
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		c := &script{in: whole[:n]}
		if _, err := locked().Handshake(c); !errors.Is(err, want) {
			t.Errorf("after %d bytes: error is %v, want %v", n, err, want)
		}
		c = &script{in: whole[:n], slow: true}
		if _, err := locked().Handshake(c); !errors.Is(err, ErrTimeout) {
			t.Errorf("silent after %d bytes: error is %v, want ErrTimeout", n, err)
		}
	}
}

func TestHandshakeTakesFewReads(t *testing.T) {
	t.Parallel()
	// Each message arrives by itself, as from a client that waits for answers.
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	counted := &countedConn{Conn: server}
	go func() {
		answer := make([]byte, 2)
		for _, message := range [][]byte{{5, 4, 0, 1, 2, 3}, toIPv4} {
			_, _ = client.Write(message)
			_, _ = io.ReadFull(client, answer)
		}
	}()
	if _, err := new(Server).Handshake(counted); err != nil {
		t.Fatal(err)
	}
	if counted.reads > 3 {
		t.Errorf("%d reads; one for the greeting and two for the request would do", counted.reads)
	}
}

type countedConn struct {
	net.Conn
	reads int
}

func (c *countedConn) Read(b []byte) (int, error) {
	c.reads++
	return c.Conn.Read(b)
}

func TestHandshakeNeedsAConnectionWithDeadlines(t *testing.T) {
	t.Parallel()
	c := &script{in: join(greetOpen, toIPv4), noTimer: true}
	if _, err := new(Server).Handshake(c); !errors.Is(err, os.ErrNoDeadline) {
		t.Errorf("error is %v, want os.ErrNoDeadline", err)
	}
}

func TestErrorsHoldNoCredentials(t *testing.T) {
	t.Parallel()
	c := &script{in: join(greetAuth, auth("mallory", "guessed-word"))}
	_, err := locked().Handshake(c)
	for _, secret := range []string{"s3cret", "guessed-word"} {
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("the error %v holds %q", err, secret)
		}
	}
}

func TestAPipeliningClientIsServedOverTCP(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	// Everything at once, as a client does that does not wait for answers.
	if _, err := client.Write(join(greetAuth, auth("ann", "s3cret"), toIPv4, "early data")); err != nil {
		t.Fatal(err)
	}
	req, err := locked().Handshake(server)
	if err != nil || req.Address() != "192.0.2.7:80" {
		t.Fatalf("got %+v, %v", req, err)
	}
	early := make([]byte, len("early data"))
	if _, err := io.ReadFull(server, early); err != nil || string(early) != "early data" {
		t.Errorf("early data read as %q, %v", early, err)
	}
}

func BenchmarkHandshake(b *testing.B) {
	for _, bench := range []struct {
		name   string
		server *Server
		in     []byte
	}{
		{"open", new(Server), join(greetOpen, toIPv4)},
		{"password", locked(), join(greetAuth, auth("ann", "s3cret"), toIPv4)},
		{"name", new(Server), join(greetOpen, 5, 1, 0, 3, 11, "example.com", 0, 80)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			c := new(script)
			b.ReportAllocs()
			for b.Loop() {
				c.in = bench.in
				c.out.Reset()
				if _, err := bench.server.Handshake(c); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
