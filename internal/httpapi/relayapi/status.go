package relayapi

import (
	"net/http"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/relay"
)

func (h *handler) status(w http.ResponseWriter, r *http.Request) {
	show := redact.Secret.Reveal
	if wantsRedacted(r) {
		show = Shortened
	}
	s := api.RelayState{Version: h.Version, Tokens: []api.RelayTokenState{}}
	for _, token := range h.Tokens.Status() {
		t := api.RelayTokenState{Token: api.Secret(show(token.Token)), Kind: string(token.Kind), Clients: token.Clients}
		if token.Kind == relay.Reverse {
			t.Port = &token.Port
		}
		for _, connector := range token.Connectors {
			t.Connectors = append(t.Connectors, api.Secret(show(connector)))
		}
		s.Tokens = append(s.Tokens, t)
	}
	answer(w, http.StatusOK, s)
}

// wantsRedacted reads ?redact=true. A value that is neither yes nor no shows
// less rather than more.
func wantsRedacted(r *http.Request) bool {
	query := r.URL.Query()
	value := query.Get("redact")
	return query.Has("redact") && value != "false" && value != "0"
}

// What is shown of a shortened token: enough to tell one's own apart, nothing
// of one so short that the rest could be guessed.
const (
	shownStart = 4
	hiddenUpTo = 8
)

// Shortened is a token as it may be shown: its first characters, or none.
func Shortened(token redact.Secret) string {
	text := []rune(token.Reveal())
	if len(text) <= hiddenUpTo {
		return "…"
	}
	return string(text[:shownStart]) + "…"
}
