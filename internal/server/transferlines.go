package server

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/archive"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/secret"
	"github.com/adit-tunnel/adit/internal/store"
	"github.com/adit-tunnel/adit/internal/telemetry"
)

// lineFormat is the number of what the lines of an archive say: a headLine, a
// rowLine for every row, and one with their count.
const lineFormat = 1

type headLine struct {
	Format int       `json:"format"`
	Schema int       `json:"schema"`
	Adit   string    `json:"adit"` // the build that wrote it
	At     time.Time `json:"at"`
	Keys   string    `json:"keys"` // the text of the key file
}

// rowLine is a row, or the end.
type rowLine struct {
	Table string         `json:"table,omitempty"`
	Row   map[string]any `json:"row,omitempty"`  // see toLine
	Rows  *int           `json:"rows,omitempty"` // in all; of the last line alone
}

// Bytes are an object in JSON, since a string is a text. So is a text that is no
// UTF-8, which JSON cannot hold and SQLite can.
const (
	bytesName = "b" // in base64
	textName  = "t"
)

// toLine makes of a row's values what JSON gives back.
func toLine(row store.Values) map[string]any {
	line := make(map[string]any, len(row))
	for name, value := range row {
		switch v := value.(type) {
		case []byte:
			value = map[string][]byte{bytesName: v}
		case string:
			if !utf8.ValidString(v) {
				value = map[string][]byte{textName: []byte(v)}
			}
		}
		line[name] = value
	}
	return line
}

// fromLine is the inverse of toLine.
func fromLine(line map[string]any) (store.Values, error) {
	row := make(store.Values, len(line))
	for name, value := range line {
		var err error
		if row[name], err = fromJSON(value); err != nil {
			return nil, fmt.Errorf("column %q: %w", name, err)
		}
	}
	return row, nil
}

func fromJSON(value any) (any, error) {
	switch v := value.(type) {
	case nil, string, bool:
		return v, nil
	case json.Number:
		return strconv.ParseInt(v.String(), 10, 64)
	case map[string]any:
		for name, inner := range v {
			text, ok := inner.(string)
			b, err := base64.StdEncoding.DecodeString(text)
			if !ok || err != nil || len(v) != 1 {
				break
			}
			switch name {
			case bytesName:
				return append([]byte{}, b...), nil // never nil, which is NULL
			case textName:
				return string(b), nil
			}
		}
	}
	return nil, errors.New("neither a text nor a number, a boolean, bytes or null")
}

// lineWriter writes JSON to an archive.
type lineWriter struct {
	to  *archive.Writer
	buf bytes.Buffer
}

func (w *lineWriter) put(line any) error {
	w.buf.Reset()
	e := json.NewEncoder(&w.buf)
	e.SetEscapeHTML(false)
	if err := e.Encode(line); err != nil {
		return err
	}
	return w.to.Line(bytes.TrimSuffix(w.buf.Bytes(), []byte("\n")))
}

// lineReader reads the rows of an archive.
type lineReader struct {
	from *archive.Reader
	name string // for messages
	keys *secret.Keyring
}

// openLines reads the head of an archive, and refuses one of another schema.
func openLines(from io.Reader, name string, passphrase redact.Secret) (*lineReader, error) {
	r := &lineReader{name: name}
	var err error
	if r.from, err = archive.Open(from, passphrase); err != nil {
		return nil, r.failed(err)
	}
	var head headLine
	if err := r.line(&head, false); err != nil {
		return nil, r.failed(err)
	}
	schema, err := store.Schema()
	if err != nil {
		return nil, err
	}
	if head.Format != lineFormat {
		return nil, r.failed(archive.ErrNewer)
	}
	if head.Schema != schema {
		return nil, &api.Error{Code: api.CodeConflict,
			Message: fmt.Sprintf("%s was written by adit %s with schema %d, this is adit %s with schema %d",
				name, head.Adit, head.Schema, telemetry.ReadBuild(), schema),
			Hint: "import it with the adit that wrote it; a newer one brings the database up at its start"}
	}
	if r.keys, err = secret.Parse([]byte(head.Keys)); err != nil {
		return nil, r.failed(fmt.Errorf("its sealing keys: %w", err))
	}
	return r, nil
}

// next gives one row, and io.EOF when the archive ended after the rows that it
// says it has, and so many were read.
func (r *lineReader) next(read int) (table string, row store.Values, err error) {
	var line rowLine
	if err := r.line(&line, true); err != nil {
		return "", nil, r.failed(err)
	}
	if line.Rows == nil {
		if row, err = fromLine(line.Row); err != nil {
			return "", nil, r.failed(fmt.Errorf("a row of %q: %w", line.Table, err))
		}
		return line.Table, row, nil
	}
	if *line.Rows != read {
		return "", nil, r.failed(fmt.Errorf("it has %d rows, and says %d", read, *line.Rows))
	}
	_, err = r.from.Line()
	if err == nil {
		err = errors.New("something follows its last line")
	}
	if !errors.Is(err, io.EOF) {
		err = r.failed(err)
	}
	return "", nil, err
}

// line reads one line of JSON. strict takes no names that it does not know; a
// head of a later format may have some.
func (r *lineReader) line(into any, strict bool) error {
	text, err := r.from.Line()
	if errors.Is(err, io.EOF) {
		return errors.New("its last line is missing")
	}
	if err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if strict {
		d.DisallowUnknownFields()
	}
	return d.Decode(into)
}

func (r *lineReader) failed(err error) error { return fmt.Errorf("read %s: %w", r.name, err) }

// rowCount counts rows by table, in the order in which the tables came.
type rowCount struct {
	all    int
	tables []string
	rows   map[string]int
}

func newRowCount() *rowCount { return &rowCount{rows: make(map[string]int)} }

func (t *rowCount) add(table string) {
	if t.rows[table] == 0 {
		t.tables = append(t.tables, table)
	}
	t.rows[table]++
	t.all++
}

// String gives as much as "3 rows (users 1, sessions 2)".
func (t *rowCount) String() string {
	if t.all == 0 {
		return "0 rows"
	}
	parts := make([]string, 0, len(t.tables))
	for _, table := range t.tables {
		parts = append(parts, fmt.Sprint(table, " ", t.rows[table]))
	}
	return fmt.Sprintf("%d rows (%s)", t.all, strings.Join(parts, ", "))
}
