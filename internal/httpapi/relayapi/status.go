package relayapi

import (
	"net/http"

	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/relay"
)

// state is the relay as it is now.
type state struct {
	Version string       `json:"version"`
	Tokens  []tokenState `json:"tokens"` // never nil
	Direct  directState  `json:"direct"`
}

type tokenState struct {
	Token      string     `json:"token"`
	Kind       relay.Kind `json:"type"`
	Clients    int        `json:"clients_count"`
	Port       *int       `json:"port,omitempty"` // of a reverse token
	Connectors []string   `json:"connector_tokens,omitempty"`
}

// directState is there for callers that look for it: links between peers that
// pass the relay by are not offered.
type directState struct {
	Enabled bool `json:"enabled"`
}

func (h *handler) status(w http.ResponseWriter, r *http.Request) {
	show := redact.Secret.Reveal
	if wantsRedacted(r) {
		show = shortened
	}
	s := state{Version: h.Version, Tokens: []tokenState{}}
	for _, token := range h.Tokens.Status() {
		t := tokenState{Token: show(token.Token), Kind: token.Kind, Clients: token.Clients}
		if token.Kind == relay.Reverse {
			t.Port = &token.Port
		}
		for _, connector := range token.Connectors {
			t.Connectors = append(t.Connectors, show(connector))
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

func shortened(token redact.Secret) string {
	text := []rune(token.Reveal())
	if len(text) <= hiddenUpTo {
		return "…"
	}
	return string(text[:shownStart]) + "…"
}
