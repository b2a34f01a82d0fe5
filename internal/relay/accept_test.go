package relay

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link/linksocks"
	"github.com/adit-tunnel/adit/internal/link/ws"
	"github.com/adit-tunnel/adit/internal/lobby"
	"github.com/adit-tunnel/adit/internal/redact"
)

const welcome = "" // no cause

// verdict is what a peer is told first: why it is turned away, or welcome.
func verdict(t testing.TB, conn *ws.Conn) string {
	t.Helper()
	answer, err := linksocks.ReadAuthResponse(conn)
	if err != nil {
		t.Fatalf("the first message: %v", err)
	}
	if answer.OK != (answer.Cause == welcome) {
		t.Errorf("heard %+v", answer)
	}
	if !answer.OK {
		if _, _, err := conn.ReadMessage(nil); err == nil {
			t.Error("a peer that was turned away is not cut off")
		}
	}
	return answer.Cause
}

func TestAQueryOpensALinkForTheTokensOwnRole(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	f.forward("token-of-a-client")
	f.reverse("token-of-a-provider")
	f.connector("token-of-a-connector", "token-of-a-provider")
	hash := func(text string) string { return linksocks.HashToken(redact.New(text)).Reveal() }
	const wrong = "invalid token"
	type row struct{ token, reverse, want string }
	rows := []row{
		{hash("token-of-nobody"), "none", wrong},
		{hash("anonymous"), "none", wrong},
		{strings.ToUpper(hash("token-of-a-client")), "none", wrong},
		{strings.Repeat("0", 64), "none", wrong},
		{"", "none", "invalid token format"},
		{"token-of-a-client", "none", "invalid token format"},
		{hash("token-of-a-client") + "0", "none", "invalid token format"},
		{hash("token-of-a-client")[1:], "none", "invalid token format"},
		{uuid.Nil.String(), "true", "invalid token format"},
	}
	for _, reverse := range []string{"none", "true", "1", "false", "0", "", "TRUE", "yes"} {
		provider := reverse == "true" || reverse == "1"
		judge := func(token string, ok bool) {
			want := welcome
			if !ok {
				want = wrong
			}
			rows = append(rows, row{hash(token), reverse, want})
		}
		judge("token-of-a-client", !provider)
		judge("token-of-a-connector", !provider)
		judge("token-of-a-provider", provider || reverse == "none")
	}
	for _, r := range rows {
		q := url.Values{"token": {r.token}, "unknown": {"key"}}
		if r.reverse != "none" {
			q.Set("reverse", r.reverse)
		}
		f.log.secret(r.token)
		conn := f.connect(q)
		if got := verdict(t, conn); got != r.want {
			t.Errorf("token=%.8s… of %d, reverse %s: told %q, want %q", r.token, len(r.token), r.reverse, got, r.want)
		}
		_ = conn.Close()
	}
}

func TestAFirstMessageOpensALinkForTheTokensOwnRole(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	f.forward("token-of-a-client")
	f.reverse("token-of-a-provider")
	f.connector("token-of-a-connector", "token-of-a-provider")
	hash := linksocks.HashToken(redact.New("token-of-a-client")).Reveal()
	for _, r := range []struct {
		token   string
		reverse bool
		ok      bool
	}{
		{"token-of-a-client", false, true}, {"token-of-a-client", true, false},
		{"token-of-a-provider", true, true}, {"token-of-a-provider", false, false},
		{"token-of-a-connector", false, true}, {"token-of-a-connector", true, false},
		{"token-of-nobody", false, false}, {"", false, false}, {"", true, false},
		{"anonymous", false, false}, {"anonymous", true, false},
		{hash, false, false}, // in the URL it is a token, here it is none
	} {
		conn := f.connect(nil)
		must(t, linksocks.SendAuth(conn, linksocks.Auth{Token: redact.New(r.token), Reverse: r.reverse}))
		want := welcome
		if !r.ok {
			want = "invalid token"
		}
		if got := verdict(t, conn); got != want {
			t.Errorf("token %q, reverse %v: told %q, want %q", r.token, r.reverse, got, want)
		}
		_ = conn.Close()
	}
}

func TestAFirstMessageThatIsNoneIsTurnedAway(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	f.forward("token-of-a-client")
	auth := func(version byte) []byte {
		msg, err := linksocks.Auth{Token: redact.New("token-of-a-client")}.Append(nil)
		must(t, err)
		msg[0] = version
		return msg
	}
	partners, err := linksocks.Partners{Count: 1}.Append(nil)
	must(t, err)
	for name, r := range map[string]struct {
		op   ws.Opcode
		msg  []byte
		want string // how the cause begins
	}{
		"another minor version":            {ws.Binary, auth(0x0f), welcome},
		"a text frame that holds an Auth":  {ws.Text, auth(0x01), welcome},
		"another major version":            {ws.Binary, auth(0x11), "invalid auth message: "},
		"another message":                  {ws.Binary, partners, "invalid auth message: "},
		"an unknown type":                  {ws.Binary, []byte{1, 0x77, 1, 2, 3}, "invalid auth message: "},
		"half of an Auth":                  {ws.Binary, auth(0x01)[:9], "invalid auth message: "},
		"nothing":                          {ws.Binary, nil, "invalid auth message: "},
		"a text frame that holds nonsense": {ws.Text, []byte("token-of-a-client"), "invalid auth message: "},
	} {
		conn := f.connect(nil)
		must(t, conn.WriteMessage(r.op, r.msg))
		got := verdict(t, conn)
		if !strings.HasPrefix(got, r.want) || r.want == welcome && got != welcome {
			t.Errorf("%s: told %q, want %q", name, got, r.want)
		}
		_ = conn.Close()
	}
	if f.count("message_version") != 2 || f.count("message_unexpected") != 2 || f.count("message_short") != 2 {
		t.Errorf("counted %d versions, %d unexpected, %d short",
			f.count("message_version"), f.count("message_unexpected"), f.count("message_short"))
	}
}

// bomb is a Data that holds n bytes when it is inflated.
func bomb(t testing.TB, n int) []byte {
	t.Helper()
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, err := w.Write(make([]byte, n))
	must(t, err, w.Close())
	msg := append([]byte{linksocks.Version, byte(linksocks.TypeData), byte(linksocks.TCP)}, make([]byte, 16)...)
	msg = binary.BigEndian.AppendUint32(append(msg, 1), uint32(z.Len()))
	return append(msg, z.Bytes()...)
}

// This test runs alone, since it reckons what the process allocates.
func TestAFirstMessageThatIsLongOrABombCostsNoMemory(t *testing.T) {
	f := serve(t, Options{})
	small := bomb(t, 3<<20)
	if len(small) > linksocks.MaxAuth {
		t.Fatalf("the bomb has %d bytes", len(small))
	}
	for name, msg := range map[string][]byte{"a small bomb": small, "a large bomb": bomb(t, 16<<20)} {
		conn := f.connect(nil)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_ = conn.WriteOwned(ws.Binary, msg) // it may be cut while it writes
		for err := error(nil); err == nil; {
			_, _, err = conn.ReadMessage(nil) // that it is turned away, or nothing
		}
		runtime.ReadMemStats(&after)
		if got := after.TotalAlloc - before.TotalAlloc; got > 256<<10 {
			t.Errorf("%s cost %d KiB", name, got>>10)
		}
	}
	eventually(t, "they are forgotten", func() bool { return f.hub.strangers.Len() == 0 })
}

func TestWhoSaysNothingIsCutAfterTenSeconds(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, f *fixture) {
		for _, partly := range []bool{false, true} {
			began := time.Now()
			conn := f.connect(nil)
			var pinging sync.WaitGroup
			if partly {
				pinging.Go(func() {
					for conn.Ping([]byte("not yet")) == nil {
						time.Sleep(time.Second)
					}
				})
			}
			if _, _, err := conn.ReadMessage(nil); err == nil {
				t.Error("something was heard")
			}
			_ = conn.Close()
			if d := time.Since(began); d != authTimeout {
				t.Errorf("cut after %v", d)
			}
			pinging.Wait()
		}
		synctest.Wait()
		if f.count("auth_slow") != 2 || f.hub.strangers.Len() != 0 {
			t.Errorf("%d slow ones were counted, %d are there", f.count("auth_slow"), f.hub.strangers.Len())
		}
	})
}

func TestACrowdOfStrangersKeepsNobodyOut(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, f *fixture) {
		f.forward("token-of-a-client")
		f.hub.strangers = lobby.New(2)
		oldest := f.connect(nil)
		synctest.Wait()
		for range 2 {
			f.connect(nil)
			synctest.Wait()
		}
		began := time.Now()
		if _, _, err := oldest.ReadMessage(nil); err == nil || time.Since(began) != 0 {
			t.Errorf("who waited longest is there for %v, %v", time.Since(began), err)
		}
		welcomed(t, f.connect(query("token-of-a-client", Forward, uuid.New())))
		if f.count("auth_crowded") == 0 {
			t.Error("nothing was counted")
		}
	})
}

func TestIDsOfOurOwnAreNoCredentials(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	f.autonomy("token-of-a-provider")
	binary := f.connect(nil)
	must(t, linksocks.SendAuth(binary, linksocks.Auth{Token: redact.New("token-of-a-provider"), Reverse: true}))
	provider := listening(t, welcomed(t, binary))
	if answer := provider.manage(linksocks.OpAdd, "token-of-a-connector"); !answer.OK {
		t.Fatal(answer.Cause)
	}
	ids := []string{uuid.Nil.String(), string(make([]byte, 16))}
	f.hub.mu.Lock()
	for _, k := range f.hub.tokens {
		ids = append(ids, k.ID, k.Instance.String(), string(k.Instance[:]))
	}
	for l := range f.hub.links {
		ids = append(ids, l.instance.String())
	}
	f.hub.mu.Unlock()
	for _, id := range ids {
		for _, reverse := range []bool{true, false} {
			conn := f.connect(nil)
			must(t, linksocks.SendAuth(conn, linksocks.Auth{Token: redact.New(id), Reverse: reverse}))
			if got := verdict(t, conn); got != "invalid token" {
				t.Errorf("%q is a credential: %q", id, got)
			}
			if got := verdict(t, f.connect(url.Values{"token": {linksocks.HashToken(redact.New(id)).Reveal()}})); got != "invalid token" {
				t.Errorf("the hash of %q is a credential: %q", id, got)
			}
		}
	}
}

func TestARelayThatIsAboutToStopAnswers503(t *testing.T) {
	t.Parallel()
	f := serve(t, Options{})
	f.forward("token-of-a-client")
	f.hub.Drain(t.Context())
	q := query("token-of-a-client", Forward, uuid.New())
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+f.addr+"/socket?"+q.Encode(), nil)
	must(t, err)
	req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}}
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	must(t, err)
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("status %d", resp.StatusCode)
	}
}

func TestWhoLeavesBeforeTheAnswerIsForgotten(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, f *fixture) {
		conn := f.connect(nil)
		must(t, conn.Close())
		synctest.Wait()
		if f.hub.strangers.Len() != 0 || f.count("auth_lost") != 1 || f.count("auth_slow") != 0 {
			t.Errorf("%d are there, %d lost, %d slow", f.hub.strangers.Len(), f.count("auth_lost"), f.count("auth_slow"))
		}
		if _, _, err := conn.ReadMessage(nil); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}

// A peer that says nothing must not hold up the end of the relay.
func TestAStrangerDoesNotDelayTheEnd(t *testing.T) {
	inMemory(t, Options{}, func(t *testing.T, f *fixture) {
		f.connect(nil)
		synctest.Wait()
		begun := time.Now()
		f.hub.Close()
		if d := time.Since(begun); d > time.Second {
			t.Errorf("it took %v", d)
		}
	})
}
