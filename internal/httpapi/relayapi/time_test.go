package relayapi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/relay"
	"github.com/adit-tunnel/adit/internal/testx/memnet"
)

// slow is a relay that takes its time over each wish.
type slow struct{ memory }

func (s *slow) Add(ctx context.Context, spec relay.TokenSpec) (relay.Added, error) {
	select {
	case <-ctx.Done():
		return relay.Added{}, ctx.Err()
	case <-time.After(2 * bodyTimeout):
		return s.memory.Add(ctx, spec)
	}
}

func TestABodyThatDoesNotArriveIsGivenUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for key, want := range map[string]string{testKey: "408 request body took too long", "wrong": "401 invalid API key"} {
			began := time.Now()
			status, body := exchange(t, key, "{", 20)
			text := want[4:]
			if took := time.Since(began); fmt.Sprint(status) != want[:3] || body != refusedBody(text)+"\n" || took > bodyTimeout {
				t.Errorf("after %v: %d %s, want %s", took, status, body, want)
			}
		}
	})
}

func TestTheTimeForTheBodyIsNotThatOfTheWish(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const wish = `{"type":"forward","token":"t"}`
		if status, body := exchange(t, testKey, wish, len(wish)); status != 200 || body != `{"success":true,"token":"t"}`+"\n" {
			t.Errorf("%d %s", status, body)
		}
	})
}

// exchange asks a slow relay for a token, with a body that claims a length, and
// gives its answer.
func exchange(t *testing.T, key, body string, length int) (status int, answer string) {
	t.Helper()
	network := memnet.New()
	listener, err := network.Listen("relay")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: New(Options{Tokens: &slow{}, Key: redact.New(testKey)})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	conn, err := network.Dial(t.Context(), "relay")
	if err != nil {
		t.Fatal(err)
	}
	_, err = fmt.Fprintf(conn, "POST /api/token HTTP/1.1\r\nHost: relay\r\nX-API-Key: %s\r\nContent-Length: %d\r\n\r\n%s", key, length, body)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Close(), server.Close()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
	return resp.StatusCode, string(text)
}
