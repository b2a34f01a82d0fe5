package store

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"time"

	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/redact"
)

// column ties a column to the field that it is read into and written from.
// value is a pointer or one of the adapters below: database/sql scans into
// both and sends the value behind both, so one list of columns serves every
// statement and cannot get out of step with another.
type column struct {
	name  string
	value any
	keep  bool // an update leaves it as it is
}

// orNull is a field whose zero value is NULL.
type orNull[T comparable] struct{ field *T }

func (o orNull[T]) Scan(src any) error {
	var n sql.Null[T]
	if err := n.Scan(src); err != nil {
		return err
	}
	*o.field = n.V
	return nil
}

func (o orNull[T]) Value() (driver.Value, error) {
	var zero T
	if *o.field == zero {
		return nil, nil
	}
	return driver.DefaultParameterConverter.ConvertValue(*o.field)
}

// instant is a time kept as milliseconds since 1970, the zero time as NULL.
type instant struct{ field *time.Time }

func (i instant) Scan(src any) error {
	var ms sql.NullInt64
	if err := ms.Scan(src); err != nil {
		return err
	}
	*i.field = time.Time{}
	if ms.Valid {
		*i.field = time.UnixMilli(ms.Int64).UTC()
	}
	return nil
}

func (i instant) Value() (driver.Value, error) {
	if i.field.IsZero() {
		return nil, nil
	}
	return i.field.UnixMilli(), nil
}

// blob is a BLOB, empty as NULL.
type blob struct{ field *[]byte }

func (b blob) Scan(src any) error {
	switch v := src.(type) {
	case nil:
		*b.field = nil
	case []byte:
		*b.field = append([]byte(nil), v...) // the driver owns v
	default:
		return fmt.Errorf("want bytes, have %T", src)
	}
	return nil
}

func (b blob) Value() (driver.Value, error) {
	if len(*b.field) == 0 {
		return nil, nil
	}
	return *b.field, nil
}

// hidden is a secret text.
type hidden struct{ field *redact.Secret }

func (h hidden) Scan(src any) error {
	var s sql.NullString
	if err := s.Scan(src); err != nil {
		return err
	}
	*h.field = redact.New(s.String)
	return nil
}

func (h hidden) Value() (driver.Value, error) { return h.field.Reveal(), nil }

// derived is a column that is computed from fields when it is written, and not
// read back.
type derived func() string

func (derived) Scan(any) error { return nil }

func (d derived) Value() (driver.Value, error) { return d(), nil }

// scopeText is a scope in the form that is stored.
type scopeText struct{ field *access.Scope }

func (t scopeText) Scan(src any) error {
	text, ok := src.(string)
	if !ok {
		return fmt.Errorf("want a scope, have %T", src)
	}
	scope, err := access.ParseScope(text)
	*t.field = scope
	return err
}

func (t scopeText) Value() (driver.Value, error) { return t.field.String(), nil }
