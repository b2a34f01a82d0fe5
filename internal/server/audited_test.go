package server

import (
	"log/slog"
	"net/http"
	"slices"
	"testing"

	"github.com/adit-tunnel/adit/internal/app"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/relay"
	"github.com/adit-tunnel/adit/internal/store"
)

func TestTheAuditTellsRelayTokensApartAndShowsNone(t *testing.T) {
	t.Parallel()
	d := openTestData(t, t.TempDir())
	log := new(journal)
	a := app.New(app.Options{Store: d.store, Logger: slog.New(slog.DiscardHandler)})
	defer a.Close()
	r := startRelay(t, relayOptions{Options: relay.Options{Keeper: keeper{d}, Logger: log.logger()}, apiKey: redact.New("some-api-key"), audit: a}, nil)
	defer stopNow(r)
	for _, c := range []struct{ method, path, body string }{
		{http.MethodPost, "", `{"type":"forward","token":"abcdefghi"}`},
		{http.MethodPost, "", `{"type":"reverse","token":"short678"}`},
		{http.MethodPost, "", `{"type":"connector","token":"some-connector-token","reverse_token":"short678"}`},
		{http.MethodDelete, "/some-connector-token", ""},
		{http.MethodDelete, "/short678", ""},
		{http.MethodDelete, "/abcdefghi", ""},
	} {
		if status, answer := call(t, r, c.method, "/api/token"+c.path, c.body); status != http.StatusOK {
			t.Fatalf("%v: %d %v", c, status, answer)
		}
	}
	if status, answer := call(t, r, http.MethodPost, "/api/token", `{"type":"connector","token":"abcdefghi","reverse_token":"none"}`); status < 400 {
		t.Errorf("%d %v", status, answer)
	}
	list, err := d.store.Audit(t.Context(), store.AuditFilter{}, store.Page{})
	must(t, err)
	slices.Reverse(list)
	want := []string{
		"add-relay-token forward token abcd…", "add-relay-token reverse token …", "add-relay-token connector token some…",
		"remove-relay-token connector token some…", "remove-relay-token reverse token …", "remove-relay-token forward token abcd…",
	}
	var got []string
	for _, e := range list {
		got = append(got, e.Action+" "+e.Object)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
