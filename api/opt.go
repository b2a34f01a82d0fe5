package api

import (
	"encoding/json"
	"fmt"
)

// Opt is a field of a request that can be absent, null or a value. The zero
// Opt is absent; with the tag omitzero it marshals as such.
type Opt[T any] struct {
	given bool
	value *T
}

// Some is a field with a value.
func Some[T any](value T) Opt[T] { return Opt[T]{given: true, value: &value} }

// Null is a field that is null, which clears it.
func Null[T any]() Opt[T] { return Opt[T]{given: true} }

// Given reports whether the field was there at all, as null or a value.
func (o Opt[T]) Given() bool { return o.given }

// Get gives the value; ok is false when the field was absent or null.
func (o Opt[T]) Get() (value T, ok bool) {
	if o.value == nil {
		return value, false
	}
	return *o.value, true
}

// Or gives what a field holds after this change of it: the value, nothing
// when it was null, and old when it was absent.
func (o Opt[T]) Or(old T) T {
	if !o.given {
		return old
	}
	value, _ := o.Get()
	return value
}

// IsZero reports that the field is absent; encoding/json asks for omitzero.
func (o Opt[T]) IsZero() bool { return !o.given }

// MarshalJSON implements json.Marshaler.
func (o Opt[T]) MarshalJSON() ([]byte, error) { return json.Marshal(o.value) }

// UnmarshalJSON implements json.Unmarshaler.
func (o *Opt[T]) UnmarshalJSON(data []byte) error {
	o.given = true
	return json.Unmarshal(data, &o.value)
}

// Format prints the value by its own rules, so that one that must not be
// printed is not.
func (o Opt[T]) Format(f fmt.State, verb rune) {
	switch {
	case !o.given:
		_, _ = fmt.Fprint(f, "absent")
	case o.value == nil:
		_, _ = fmt.Fprint(f, "null")
	default:
		_, _ = fmt.Fprintf(f, fmt.FormatString(f, verb), *o.value)
	}
}
