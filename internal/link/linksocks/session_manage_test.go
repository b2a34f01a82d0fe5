package linksocks

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/link"
	"github.com/adit-tunnel/adit/internal/redact"
)

// granted is what became of a wish.
type granted struct {
	token redact.Secret
	err   error
}

// wishing has the session say a wish.
func wishing(ctx context.Context, e *end, w link.Wish) <-chan granted {
	came := make(chan granted, 1)
	go func() {
		token, err := e.Manage(ctx, w)
		came <- granted{token, err}
	}()
	return came
}

func TestAWishIsAnsweredByTheOneWhoFulfilsIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		later := make(chan func(redact.Secret, string), 1)
		_, p := byHand(t, false, link.Config{Manage: func(w link.Wish, answer func(redact.Secret, string)) {
			switch {
			case w.Remove:
				answer(redact.Secret{}, "connector token does not exist")
			case w.Token.IsZero():
				later <- answer
			default:
				answer(w.Token, "")
			}
		}})
		slow, add, remove := uuid.New(), uuid.New(), uuid.New()
		p.say(Connector{Request: slow, Op: OpAdd})
		p.say(Connector{Request: add, Op: OpAdd, Token: redact.New("mine")})
		if m := hear[*ConnectorResponse](p); m.Request != add || !m.OK || m.Token.Reveal() != "mine" {
			t.Errorf("heard %+v", m)
		}
		p.say(Connector{Request: remove, Op: OpRemove, Token: redact.New("mine")})
		if m := hear[*ConnectorResponse](p); m.Request != remove || m.OK || m.Cause != "connector token does not exist" {
			t.Errorf("heard %+v", m)
		}
		(<-later)(redact.New("chosen"), "")
		if m := hear[*ConnectorResponse](p); m.Request != slow || !m.OK || m.Token.Reveal() != "chosen" {
			t.Errorf("heard %+v", m)
		}
	})
}

func TestAWishThatNobodyFulfilsIsRefused(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, p := byHand(t, false, link.Config{})
		p.say(Connector{Request: id, Op: OpAdd})
		if m := hear[*ConnectorResponse](p); m.Request != id || m.OK || m.Cause == "" {
			t.Errorf("heard %+v", m)
		}
	})
}

func TestAWishOfThisEndHearsItsOwnAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		first := wishing(t.Context(), e, link.Wish{Token: redact.New("one")})
		add := *hear[*Connector](p)
		second := wishing(t.Context(), e, link.Wish{Remove: true, Token: redact.New("two")})
		remove := *hear[*Connector](p)
		if add.Op != OpAdd || add.Token.Reveal() != "one" || remove.Op != OpRemove || remove.Token.Reveal() != "two" || add.Request == remove.Request {
			t.Errorf("heard %+v and %+v", add, remove)
		}
		p.say(ConnectorResponse{Request: uuid.New(), OK: true}) // somebody else's
		p.say(ConnectorResponse{Request: remove.Request, Cause: "connector token does not exist"})
		p.say(ConnectorResponse{Request: add.Request, OK: true, Token: redact.New("one")})
		p.say(ConnectorResponse{Request: add.Request, Cause: "a second word"})
		var no *link.RefusedError
		if got := <-second; !errors.As(got.err, &no) || no.Text != "connector token does not exist" {
			t.Errorf("the second got %v", got.err)
		}
		if got := <-first; got.err != nil || got.token.Reveal() != "one" {
			t.Errorf("the first got %v", got.err)
		}
		if len(e.wishes) != 0 {
			t.Errorf("%d wishes are remembered", len(e.wishes))
		}
	})
}

func TestAWishEndsWithTheLinkOrTheTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		e, p := byHand(t, true, link.Config{})
		var no *link.RefusedError
		if _, err := e.Manage(t.Context(), link.Wish{Token: redact.New(strings.Repeat("x", 256))}); !errors.As(err, &no) {
			t.Errorf("a token of 256 bytes: %v", err)
		}
		p.hearsNothing()
		if d := took(func() {
			if got := <-wishing(t.Context(), e, link.Wish{}); !errors.Is(got.err, context.DeadlineExceeded) {
				t.Errorf("an answer that does not come: %v", got.err)
			}
		}); d != wishTimeout {
			t.Errorf("it took %v", d)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if d := took(func() { <-wishing(ctx, e, link.Wish{}) }); d != time.Second {
			t.Errorf("it took %v", d)
		}
		lost := wishing(t.Context(), e, link.Wish{})
		hear[*Connector](p)
		hear[*Connector](p)
		hear[*Connector](p)
		p.ending.Store(true)
		e.Close()
		if got := <-lost; !errors.Is(got.err, link.ErrLost) {
			t.Errorf("on a link that ends: %v", got.err)
		}
		if _, err := e.Manage(t.Context(), link.Wish{}); !errors.Is(err, link.ErrLost) {
			t.Errorf("on a link that has ended: %v", err)
		}
	})
}
