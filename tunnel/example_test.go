package tunnel_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"

	"github.com/adit-tunnel/adit/tunnel"
)

// A program that uses the network behind a relay, by a forward or a connector token.
func ExampleClient_DialContext() {
	there := newStand() // a relay, and a web server in its network
	defer there.Close()

	client, err := tunnel.Dial(context.Background(), there.URL, tunnel.Config{Token: "forward-token"})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	web := http.Client{Transport: &http.Transport{DialContext: client.DialContext}}
	defer web.CloseIdleConnections()
	answer, err := web.Get("http://" + there.Web + "/hello")
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	fmt.Println(answer.Status, string(body), err)
	// Output: 200 OK hello from behind the relay <nil>
}

// A program that saves a round trip for each new connection: its first bytes
// travel with the request for it.
func ExampleClient_DialEarly() {
	there := newStand() // a relay, and a server that echoes in its network
	defer there.Close()

	client, err := tunnel.Dial(context.Background(), there.URL, tunnel.Config{Token: "forward-token"})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	conn, err := client.DialEarly(context.Background(), "tcp", there.Echo, []byte("the first bytes, "))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "and more"); err != nil {
		log.Fatal(err)
	}
	if err := conn.(tunnel.Conn).CloseWrite(); err != nil {
		log.Fatal(err)
	}
	echoed, err := io.ReadAll(conn) // had the target not been reached, this would tell
	fmt.Println(string(echoed), err)
	// Output: the first bytes, and more <nil>
}

// A program that serves what comes through a relay, by a reverse token, from
// behind any NAT. Here another one asks it, by a connector token; the reverse
// token's SOCKS port would do as well.
func ExampleClient_Listen() {
	there := newStand() // a relay
	defer there.Close()

	provider, err := tunnel.Dial(context.Background(), there.URL, tunnel.Config{Token: "reverse-token"})
	if err != nil {
		log.Fatal(err)
	}
	defer provider.Close()
	ln, err := provider.Listen()
	if err != nil {
		log.Fatal(err)
	}
	site := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "this is %s", r.Host)
	})}
	go site.Serve(ln)
	defer site.Close()

	user, err := tunnel.Dial(context.Background(), there.URL, tunnel.Config{Token: "connector-token"})
	if err != nil {
		log.Fatal(err)
	}
	defer user.Close()
	web := http.Client{Transport: &http.Transport{DialContext: user.DialContext}}
	defer web.CloseIdleConnections()
	answer, err := web.Get("http://any.name.internal/")
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	fmt.Println(string(body), err)
	// Output: this is any.name.internal <nil>
}
