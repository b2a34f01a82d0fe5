package store

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestRelayTokensAreOldestFirst(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	older, newer := relayToken("z", ""), relayToken("a", "")
	newer.CreatedAt = noon.Add(time.Millisecond)
	tie := relayToken("b", "")
	tie.CreatedAt = newer.CreatedAt
	putTokens(t, s, tie, newer, older)
	same(t, []RelayToken{older, newer, tie})(s.RelayTokens(t.Context()))
}

func TestPuttingARelayTokenAgainReplacesItAndKeepsItsConnectors(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	reverse, connector := relayToken("r", ""), relayToken("s", "r")
	putTokens(t, s, reverse, connector)

	reverse.Sealed, reverse.CreatedAt = []byte("other"), noon.Add(-time.Hour)
	putTokens(t, s, reverse)
	same(t, []RelayToken{reverse, connector})(s.RelayTokens(t.Context()))

	connector.OwnerSeenAt = noon
	putTokens(t, s, connector)
	same(t, []RelayToken{reverse, connector})(s.RelayTokens(t.Context()))

	connector.OwnerSeenAt = time.Time{}
	putTokens(t, s, connector)
	same(t, []RelayToken{reverse, connector})(s.RelayTokens(t.Context()))
}

func TestAReverseTokenTakesItsConnectorsAlong(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	putTokens(t, s, relayToken("r", ""), relayToken("q", ""), relayToken("r1", "r"), relayToken("r2", "r"), relayToken("q1", "q"))
	// r1 is named too, as one does who knows what belongs together.
	write(t, s, func(tx *Tx) error { return tx.DeleteRelayTokens(t.Context(), "r", "r1", "none") })
	same(t, []RelayToken{relayToken("q", ""), relayToken("q1", "q")})(s.RelayTokens(t.Context()))

	write(t, s, func(tx *Tx) error { return tx.DeleteRelayTokens(t.Context()) })
	write(t, s, func(tx *Tx) error { return tx.DeleteRelayTokens(t.Context(), "q1", "q") })
	if list, err := s.RelayTokens(t.Context()); err != nil || list != nil {
		t.Errorf("left: %v, %v", list, err)
	}
}

func TestARelayTokenThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	orphan, unsealed, odd := relayToken("a", "none"), relayToken("b", ""), relayToken("c", "")
	unsealed.Sealed, odd.Kind = nil, "anonymous"
	for name, token := range map[string]RelayToken{"an orphan": orphan, "an unsealed one": unsealed, "of no kind": odd} {
		if err := s.Write(t.Context(), func(tx *Tx) error { return tx.PutRelayToken(t.Context(), token) }); err == nil {
			t.Errorf("%s was stored", name)
		}
	}
}

func TestADatabaseOfTheFirstSchemaGetsRelayTokensAndKeepsItsRows(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "adit.db")
	steps, err := migrations(&sqliteDialect)
	if err != nil {
		t.Fatal(err)
	}
	raw := openRaw(t, path)
	if err := migrate(t.Context(), raw, path, steps[:1]); err != nil {
		t.Fatal(err)
	}
	execRaw(t, raw, "INSERT INTO users (id, email, email_lower, username, password_hash, role, disabled, created_at, updated_at) "+
		"VALUES ('u', 'a@b', 'a@b', '', '', 'user', 0, 0, 0)")
	if err := raw.Close(); err != nil {
		t.Fatal(err)
	}

	s, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	wantUsers(t, s, 1)
	putTokens(t, s, relayToken("r", ""))
	same(t, []RelayToken{relayToken("r", "")})(s.RelayTokens(t.Context()))
}

func TestARemovedRelayTokenLeavesNoBytesBehind(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), filepath.Join(t.TempDir(), "adit.db"))
	if err != nil {
		t.Fatal(err)
	}
	mark := []byte("sealed for a token that goes")
	token := relayToken("r", "")
	token.Sealed = mark
	putTokens(t, s, token)
	write(t, s, func(tx *Tx) error { return tx.DeleteRelayTokens(t.Context(), "r") })
	path := s.path
	closeStore(t, s)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(content, mark) {
		t.Error("the sealed value is still in the file")
	}
}

// relayToken is a connector of a reverse token, or a reverse token.
func relayToken(id, reverse string) RelayToken {
	token := RelayToken{ID: id, Kind: "reverse", ReverseID: reverse, Sealed: []byte("sealed"), CreatedAt: noon}
	if reverse != "" {
		token.Kind = "connector"
	}
	return token
}

func putTokens(t testing.TB, s *Store, tokens ...RelayToken) {
	t.Helper()
	write(t, s, func(tx *Tx) error {
		for _, token := range tokens {
			if err := tx.PutRelayToken(t.Context(), token); err != nil {
				return err
			}
		}
		return nil
	})
}
