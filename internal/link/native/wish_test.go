package native

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/redact"
)

func TestWishesAreFulfilledOrRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var wishes []link.Wish
		l := newLink(t, link.Config{}, link.Config{Manage: func(w link.Wish, answer func(redact.Secret, string)) {
			wishes = append(wishes, w)
			token := w.Token.Reveal()
			switch {
			case token == "taken":
				answer(redact.Secret{}, "token taken")
			case token == "long":
				answer(redact.Secret{}, strings.Repeat("ä", 200))
			case token == "":
				go answer(redact.New("chosen"), "")
			default:
				answer(w.Token, "")
			}
		}})
		longest := strings.Repeat("t", 255)
		for _, token := range []string{"mine", "", longest} {
			want := token
			if token == "" {
				want = "chosen"
			}
			got, err := l.near.Manage(t.Context(), link.Wish{Token: redact.New(token)})
			if err != nil || got.Reveal() != want {
				t.Errorf("%q was added for %q, %v", got.Reveal(), token, err)
			}
		}
		_, err := l.near.Manage(t.Context(), link.Wish{Remove: true, Token: redact.New("mine")})
		must(t, err)
		if w := wishes[len(wishes)-1]; !w.Remove || w.Token.Reveal() != "mine" || wishes[0].Remove {
			t.Errorf("the relay was asked for %+v", w)
		}
		for token, text := range map[string]string{"taken": "token taken", "long": strings.Repeat("ä", 127), longest + "t": "255 bytes"} {
			_, err := l.near.Manage(t.Context(), link.Wish{Token: redact.New(token)})
			if no, ok := errors.AsType[*link.RefusedError](err); !ok || !strings.Contains(no.Text, text) {
				t.Errorf("%.10s: %v", token, err)
			}
		}
		// Nobody manages on the other side.
		if _, err := l.far.Manage(t.Context(), link.Wish{}); !errors.As(err, new(*link.RefusedError)) {
			t.Errorf("%v", err)
		}
		wantNothingLeft(t, l.near, l.far)
	})
}

func TestAWishThatIsNotAnsweredEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		var err error
		if d := took(func() { _, err = e.Manage(t.Context(), link.Wish{}) }); d != 10*time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v after %v", err, d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if d := took(func() { _, err = e.Manage(ctx, link.Wish{}) }); d != time.Second || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v after %v", err, d)
		}
		for range 2 { // too late, and of no wish; then twice
			late := decodeWish(p.hear(typeConnector).payload)
			p.say(wish{late.request, 1, "late"}.append(nil, typeConnectorResult), wish{99, 1, "none"}.append(nil, typeConnectorResult))
		}
		go func() {
			w := decodeWish(p.hear(typeConnector).payload)
			yes := wish{w.request, 1, "right"}.append(nil, typeConnectorResult)
			p.say(yes, yes, wish{w.request, 0, "wrong"}.append(nil, typeConnectorResult))
		}()
		if token, err := e.Manage(t.Context(), link.Wish{}); err != nil || token.Reveal() != "right" {
			t.Errorf("%q, %v", token.Reveal(), err)
		}
		go func() { time.Sleep(time.Second); p.net.Cut() }()
		if _, err := e.Manage(t.Context(), link.Wish{}); !errors.Is(err, link.ErrLost) {
			t.Errorf("%v", err)
		}
		wantNothingLeft(t, e)
	})
}

func TestPartnersAndLogLinesArrive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var heard []string
		partners := -1
		cfg := link.Config{
			Log:      func(level, text string) { heard = append(heard, level+" "+text) },
			Partners: func(n int) { partners = n },
		}
		e, p := byHand(t, true, cfg)
		for level := range 4 {
			p.say(line{byte(level), "text"}.append(nil))
		}
		p.say(line{200, strings.Repeat("ä", 1000)}.append(nil), frame(typeLog, 0, []byte{0, 0xff}), frame(typeLog, 0, []byte{1}))
		p.say(appendNumber(nil, typePartners, 0, 7))
		synctest.Wait()
		want := []string{"debug text", "info text", "warn text", "error text", "error " + strings.Repeat("ä", 511), "debug ?", "info "}
		if strings.Join(heard, "|") != strings.Join(want, "|") || partners != 7 {
			t.Errorf("heard %q and %d partners", heard, partners)
		}
		e.TellPartners(3)
		e.TellPartners(-1)
		for _, n := range []byte{3, 0} {
			if g := p.hear(typePartners); string(g.payload) != string([]byte{0, 0, 0, n}) {
				t.Errorf("heard % x", g.payload)
			}
		}
		p.hearsNothing()
	})
}
