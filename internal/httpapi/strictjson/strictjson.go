// Package strictjson reads request bodies into api's request types: unknown
// and repeated names, wrong types, texts for numbers and broken encodings are
// errors, and everything that is wrong with a body is told at once. The rules
// of a field are its struct tags, see package api.
package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/adit-tunnel/adit/api"
)

// Mode says what an object is for.
type Mode int

// The modes. The zero value is the stricter one.
const (
	Whole Mode = iota // required fields must be there
	Patch             // any field may be absent
)

// Bounds of what one error tells of a body.
const (
	maxProblems   = 100
	maxNameQuoted = 64 // code points of a name that the client chose
)

// Object reads data, one JSON object, into the structs that into points to, the
// fields of all of them together. Nothing at all is read as an empty object.
// Its error is an *api.Error: CodeBadRequest when data is no such object, else
// CodeInvalid; fields that are right are read all the same.
func Object(data []byte, mode Mode, into ...any) error {
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		data = []byte("{}")
	}
	if err := check(data); err != nil {
		return err
	}
	if data[0] != '{' {
		return bad("The body must be a JSON object")
	}
	return object(data, mode, into)
}

// Array splits data, one JSON array of at most limit items, into its items,
// to be read by Item one by one. Its error is an *api.Error.
func Array(data []byte, limit int) ([]json.RawMessage, error) {
	data = bytes.TrimSpace(data)
	if len(data) == 0 {
		return nil, bad("The body must be a JSON array")
	}
	if err := check(data); err != nil {
		return nil, err
	}
	if data[0] != '[' {
		return nil, bad("The body must be a JSON array")
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	_, _ = dec.Token() // the opening bracket; check has seen it all
	items := []json.RawMessage{}
	for dec.More() {
		if len(items) == limit {
			return nil, bad(fmt.Sprintf("The array must not hold more than %d items", limit))
		}
		var item json.RawMessage
		if err := dec.Decode(&item); err != nil {
			return nil, bad("The body is not valid JSON")
		}
		items = append(items, item)
	}
	return items, nil
}

// Item is Object for one item that Array gave.
func Item(item json.RawMessage, mode Mode, into ...any) error {
	if len(item) == 0 || item[0] != '{' {
		return bad("The item must be a JSON object")
	}
	return object(item, mode, into)
}

// check refuses what is not exactly one JSON value in sound UTF-8.
// json.Valid bounds the depth.
func check(data []byte) error {
	switch {
	case !utf8.Valid(data):
		return bad("The body is not valid UTF-8")
	case !json.Valid(data):
		return bad("The body is not valid JSON")
	case loneSurrogate(data):
		return bad("The body is not valid Unicode")
	}
	return nil
}

// loneSurrogate reports whether valid JSON escapes half of a surrogate pair,
// which encoding/json would replace in silence.
func loneSurrogate(data []byte) bool {
	for i := 0; i < len(data); i++ {
		if data[i] != '\\' {
			continue
		}
		i++ // the escaped character, which may be a backslash
		if data[i] != 'u' {
			continue
		}
		unit := string(data[i+1 : i+5])
		i += 4
		switch {
		case isSurrogate(unit, "89ab"):
			if !bytes.HasPrefix(data[i+1:], []byte(`\u`)) || !isSurrogate(string(data[i+3:i+7]), "cdef") {
				return true
			}
			i += 6
		case isSurrogate(unit, "cdef"):
			return true
		}
	}
	return false
}

func isSurrogate(unit, half string) bool {
	unit = strings.ToLower(unit)
	return unit[0] == 'd' && strings.IndexByte(half, unit[1]) >= 0
}

// object reads valid JSON that begins with a brace.
func object(data []byte, mode Mode, into []any) error {
	known := map[string]bool{}
	for _, target := range into {
		for _, f := range planOf(reflect.TypeOf(target).Elem()) {
			known[f.name] = true
		}
	}
	values, problems := members(data, known)
	for _, target := range into {
		v := reflect.ValueOf(target).Elem()
		for _, f := range planOf(v.Type()) {
			problems = append(problems, f.set(v, values[f.name], mode)...)
		}
	}
	if len(problems) > 0 {
		return api.Invalid(problems[:min(len(problems), maxProblems)]...)
	}
	return nil
}

// members finds the value of each known name.
func members(data []byte, known map[string]bool) (values map[string]json.RawMessage, problems []string) {
	values = make(map[string]json.RawMessage, len(known))
	dec := json.NewDecoder(bytes.NewReader(data))
	_, _ = dec.Token() // the opening brace; data is valid
	for dec.More() {
		token, _ := dec.Token()
		name, _ := token.(string)
		var value json.RawMessage
		_ = dec.Decode(&value)
		_, twice := values[name]
		switch {
		case len(problems) >= maxProblems:
		case !known[name]:
			problems = append(problems, "property "+quoted(name)+" should not exist")
		case twice:
			problems = append(problems, "property "+name+" should not be repeated")
		default:
			values[name] = value
		}
	}
	return values, problems
}

// quoted shortens a name that the client chose.
func quoted(name string) string {
	if utf8.RuneCountInString(name) <= maxNameQuoted {
		return name
	}
	return string([]rune(name)[:maxNameQuoted]) + "…"
}

func bad(message string) error {
	return &api.Error{Code: api.CodeBadRequest, Message: message}
}

// Also adds problems that were found elsewhere to what Object found, so that
// all are told at once. An error other than CodeInvalid stays alone.
func Also(err error, problems ...string) error {
	var told *api.Error
	switch {
	case len(problems) == 0:
		return err
	case err == nil:
		return api.Invalid(problems...)
	case errors.As(err, &told) && told.Code == api.CodeInvalid:
		return api.Invalid(append(told.Details, problems...)...)
	}
	return err
}
