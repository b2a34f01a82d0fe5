package tunnel_test

import (
	"context"
	"fmt"
	"log"
	"net/http"

	"github.com/adit-tunnel/adit/tunnel"
)

// A program that uses the network behind a relay, by a forward or a connector token.
func ExampleClient_DialContext() {
	client, err := tunnel.Dial(context.Background(), "wss://relay.example.org", tunnel.Config{Token: "my-token"})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	web := http.Client{Transport: &http.Transport{DialContext: client.DialContext}}
	answer, err := web.Get("http://10.0.0.5/")
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	fmt.Println(answer.Status)
}

// A program that serves what comes through a relay, by a reverse token, from
// behind any NAT.
func ExampleClient_Listen() {
	client, err := tunnel.Dial(context.Background(), "wss://relay.example.org", tunnel.Config{Token: "lend-token"})
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	ln, err := client.Listen()
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(http.Serve(ln, http.FileServer(http.Dir("."))))
}
