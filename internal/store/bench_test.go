package store

import (
	"fmt"
	"testing"

	"github.com/adit-tunnel/adit/internal/access"
)

// BenchmarkSync is a payload of the largest size, all in one transaction: look
// for the localId, then create or update.
func BenchmarkSync(b *testing.B) {
	s := world(b)
	ctx := b.Context()
	for b.Loop() {
		write(b, s, func(tx *Tx) error {
			for i := range 1000 {
				localID := fmt.Sprint(i)
				f, err := tx.ForwardByLocalID(ctx, access.Personal("ann"), localID)
				if err == nil {
					f.Name = "again"
					err = tx.UpdateForward(ctx, f)
				} else {
					err = tx.CreateForward(ctx, rule(b, "ann", localID))
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
}

// BenchmarkList is one person's 50 forwards among those of 200.
func BenchmarkList(b *testing.B) {
	for _, people := range []int{1, 200} {
		b.Run(fmt.Sprintf("people=%d", people), func(b *testing.B) {
			s := world(b)
			ctx := b.Context()
			write(b, s, func(tx *Tx) error {
				for i := range people * 50 {
					user := "ann"
					if i%people > 0 {
						user = "bob" // whose rows they are does not matter
					}
					if err := tx.CreateForward(ctx, rule(b, user, fmt.Sprint(i))); err != nil {
						return err
					}
				}
				return nil
			})
			for b.Loop() {
				list, err := s.Forwards(ctx, access.Personal("ann"), Page{})
				if err != nil || len(list) != 50 {
					b.Fatal(len(list), err)
				}
			}
		})
	}
}

// BenchmarkSession is what every request costs before anything else.
func BenchmarkSession(b *testing.B) {
	s := world(b)
	ctx := b.Context()
	write(b, s, func(tx *Tx) error {
		return tx.CreateSession(ctx, Session{ID: "j", UserID: "ann", CreatedAt: noon, ExpiresAt: noon.AddDate(1, 0, 0)})
	})
	for b.Loop() {
		if _, err := s.UserBySession(ctx, "j", noon); err != nil {
			b.Fatal(err)
		}
	}
}

func rule(tb testing.TB, user, localID string) Forward {
	row := Row{ID: newID(tb), UserID: user, LocalID: localID, CreatedAt: noon, UpdatedAt: noon}
	return Forward{Row: row, Type: "local", Name: "web", RemoteHost: "10.0.0.1", RemotePort: 80, Password: make([]byte, 60)}
}
