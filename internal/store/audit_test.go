package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/adit-tunnel/adit/internal/access"
)

func TestTheAuditIsPurgedInBatchesTheOldestFirst(t *testing.T) {
	t.Parallel()
	s := openTemp(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.Write(t.Context(), func(tx *Tx) error {
		for i := range 10 {
			e := AuditEntry{ID: fmt.Sprintf("%02d", 9-i), At: noon.Add(time.Duration(i) * time.Hour), Scope: access.Installation(), Action: "a", Detail: "why", Result: "ok"}
			if err := tx.AppendAudit(t.Context(), e); err != nil {
				return err
			}
		}
		return nil
	}))
	for _, want := range []struct{ removed, left int }{{3, 7}, {3, 4}, {1, 3}, {0, 3}} {
		must(s.Write(t.Context(), func(tx *Tx) error {
			n, err := tx.PurgeAudit(t.Context(), noon.Add(7*time.Hour), 3)
			if n != want.removed {
				t.Errorf("%d removed, want %d", n, want.removed)
			}
			return err
		}))
		list, err := s.Audit(t.Context(), AuditFilter{}, Page{})
		must(err)
		if len(list) != want.left || !list[0].At.Equal(noon.Add(9*time.Hour)) || list[0].Detail != "why" {
			t.Errorf("left: %+v", list)
		}
	}
}
