package api

import (
	"encoding/json"
	"time"
)

// Time is an instant on the wire: ISO-8601, in UTC, with exactly three digits
// of milliseconds. Instants that can be unset are *Time, null when nil.
type Time struct{ time.Time }

const timeFormat = "2006-01-02T15:04:05.000Z"

// At is t for the wire; nil for the zero time.
func At(t time.Time) *Time {
	if t.IsZero() {
		return nil
	}
	return &Time{t}
}

// String gives the wire form.
func (t Time) String() string { return t.UTC().Format(timeFormat) }

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) { return json.Marshal(t.String()) }

// UnmarshalJSON implements json.Unmarshaler. It takes any RFC 3339 instant.
func (t *Time) UnmarshalJSON(data []byte) error { return t.Time.UnmarshalJSON(data) }

// MarshalText implements encoding.TextMarshaler.
func (t Time) MarshalText() ([]byte, error) { return []byte(t.String()), nil }
