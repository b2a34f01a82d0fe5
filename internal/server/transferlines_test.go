package server

import (
	"bytes"
	"fmt"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/internal/archive"
	"github.com/adit-tunnel/adit/internal/config"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/secret"
	"github.com/adit-tunnel/adit/internal/store"
)

// Whoever writes such an archive has the passphrase. He could still be mistaken.
func TestLinesThatAreNotAsTheyShouldBeAreRefused(t *testing.T) {
	t.Parallel()
	schema, err := store.Schema()
	must(t, err)
	head := func(schema int, keys string) string {
		return fmt.Sprintf(`{"format":1,"schema":%d,"adit":"9.9","at":"2026-01-02T12:00:00Z","keys":%q,"later":1}`, schema, keys)
	}
	good, row := head(schema, secret.New().Text().Reveal()), `{"table":"meta","row":{"name":"n","value":"v"}}`
	for want, lines := range map[string][]string{
		"its last line is missing":                      nil,
		"was written by adit 9.9 with schema 99, this ": {head(99, "")},
		"its sealing keys: no key in it":                {head(schema, "")},
		"it is an archive of a newer adit":              {`{"format":2}`},
		"read standard input: invalid character":        {"{{"},
		"input: its last line is missing":               {good, row},
		"it has 1 rows, and says 2":                     {good, row, `{"rows":2}`},
		"something follows its last line":               {good, row, `{"rows":1}`, row},
		`load "metas": there is no such table`:          {good, `{"table":"metas","row":{}}`},
		`load "schema_version"`:                         {good, `{"table":"schema_version","row":{"version":99}}`},
		`load meta: there is no column "more"`:          {good, `{"table":"meta","row":{"name":"n","value":"v","more":1}}`},
		`load meta: the column value is missing`:        {good, `{"table":"meta","row":{"name":"n"}}`},
		`json: unknown field "extra"`:                   {good, `{"table":"meta","row":{},"extra":1}`},
		`a row of "meta": column "value": neither`:      {good, `{"table":"meta","row":{"name":"n","value":["v"]}}`},
		`a row of "meta": column "name": neither`:       {good, `{"table":"meta","row":{"name":{"b":"!"},"value":"v"}}`},
		`a row of "meta": column "name": strconv.`:      {good, `{"table":"meta","row":{"name":1.5,"value":"v"}}`},
		"meta already taken":                            {good, row, row, `{"rows":2}`},
	} {
		dir := t.TempDir()
		err := Import(t.Context(), transfer(config.Standard, dir, redact.Secret{}), bytes.NewReader(written(t, lines)), io.Discard)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", lines, err, want)
		}
		untouched(t, dir, redact.Secret{})
	}
}

func written(t *testing.T, lines []string) []byte {
	t.Helper()
	var file bytes.Buffer
	w, err := archive.Create(&file, redact.New(passphrase), cheap)
	must(t, err)
	for _, line := range lines {
		must(t, w.Line([]byte(line)))
	}
	must(t, w.Close())
	return file.Bytes()
}

func TestEveryValueOfARowGoesThroughALine(t *testing.T) {
	t.Parallel()
	want := store.Values{
		"text": "a \" \\ \x00 \u2028 \ufffd <文字>", "empty": "", "no UTF-8": "a\xff\xc0", "least": int64(-1 << 63), "most": int64(1<<63 - 1),
		"true": true, "false": false, "bytes": []byte{0, 0xff}, "no bytes": []byte{}, "null": nil,
	}
	var file bytes.Buffer
	w, err := archive.Create(&file, redact.New(passphrase), cheap)
	must(t, err)
	lines := lineWriter{to: w}
	must(t, lines.put(rowLine{Table: "t", Row: toLine(want)}), w.Close())
	from, err := archive.Open(&file, redact.New(passphrase))
	must(t, err)
	table, got, err := (&lineReader{from: from}).next(0)
	if err != nil || table != "t" || !reflect.DeepEqual(got, want) {
		t.Errorf("%s: got  %#v, %v\nwant %#v", table, got, err, want)
	}
}
