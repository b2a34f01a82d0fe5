package strictjson

import (
	"encoding/json"
	"fmt"
	"math"
	"net/mail"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/adit-tunnel/adit/api"
)

// field is one field of a request type with its rules.
type field struct {
	name     string
	index    []int
	number   bool // an integer
	boolean  bool // true or false; of neither kind, nor a list: a text
	list     bool // of texts, each of them within the limits
	optional bool // "" means null
	required bool // in Mode Whole; "" and null are wrong in either
	secret   bool
	zeroNull bool // 0 means null
	email    bool
	minLen   int
	maxLen   int // 0: no limit
	min, max int
	enum     []string
}

var plans sync.Map // reflect.Type to []field

func planOf(t reflect.Type) []field {
	if plan, ok := plans.Load(t); ok {
		return plan.([]field)
	}
	var plan []field
	for _, f := range reflect.VisibleFields(t) {
		if !f.Anonymous {
			plan = append(plan, newField(f))
		}
	}
	plans.Store(t, plan)
	return plan
}

// newField panics on a type or tag that it does not know: that is a mistake in
// package api, and any test meets it.
func newField(sf reflect.StructField) field {
	name, _, _ := strings.Cut(sf.Tag.Get("json"), ",")
	f := field{
		name:     name,
		index:    sf.Index,
		required: sf.Tag.Get("required") == "true",
		zeroNull: sf.Tag.Get("zero") == "null",
		email:    sf.Tag.Get("format") == "email",
		minLen:   number(sf, "minLength", 0),
		maxLen:   number(sf, "maxLength", 0),
		min:      number(sf, "minimum", math.MinInt),
		max:      number(sf, "maximum", math.MaxInt),
	}
	if enum := sf.Tag.Get("enum"); enum != "" {
		f.enum = strings.Split(enum, ",")
	}
	switch sf.Type {
	case reflect.TypeFor[string](), reflect.TypeFor[api.Opt[string]]():
	case reflect.TypeFor[api.Secret](), reflect.TypeFor[api.Opt[api.Secret]]():
		f.secret = true
	case reflect.TypeFor[api.Opt[int]]():
		f.number = true
	case reflect.TypeFor[api.Opt[bool]]():
		f.boolean = true
	case reflect.TypeFor[api.Opt[[]string]]():
		f.list = true
	default:
		panic("strictjson: field " + sf.Name + " has a type that no rule is for")
	}
	f.optional = !f.required && !f.secret
	return f
}

func number(sf reflect.StructField, tag string, none int) int {
	text, ok := sf.Tag.Lookup(tag)
	if !ok {
		return none
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		panic("strictjson: field " + sf.Name + ": " + err.Error())
	}
	return n
}

var null = json.RawMessage("null")

// set stores the value of the field, nil when it is absent, in target, and
// tells what is wrong with it.
func (f *field) set(target reflect.Value, raw json.RawMessage, mode Mode) []string {
	switch {
	case raw == nil && !(f.required && mode == Whole):
		return nil
	case raw == nil || string(raw) == "null":
		if f.required {
			return []string{f.name + " should not be empty", f.typeProblem()}
		}
		return f.store(target, null)
	case f.number:
		return f.setNumber(target, raw)
	case f.boolean:
		return f.store(target, raw)
	case f.list:
		return f.setList(target, raw)
	}
	return f.setText(target, raw)
}

func (f *field) typeProblem() string {
	switch {
	case f.enum != nil:
		return f.name + " must be one of the following values: " + strings.Join(f.enum, ", ")
	case f.number:
		return f.name + " must be an integer number"
	case f.boolean:
		return f.name + " must be a boolean value"
	case f.list:
		return f.name + " must be an array of strings"
	}
	return f.name + " must be a string"
}

func (f *field) setNumber(target reflect.Value, raw json.RawMessage) []string {
	n, err := integer(string(raw))
	switch {
	case err != nil:
		return []string{f.typeProblem()}
	case n == 0 && f.zeroNull:
		return f.store(target, null)
	case n > f.max:
		return []string{fmt.Sprintf("%s must not be greater than %d", f.name, f.max)}
	case n < f.min:
		return []string{fmt.Sprintf("%s must not be less than %d", f.name, f.min)}
	}
	return f.store(target, strconv.AppendInt(nil, int64(n), 10))
}

// integer reads a JSON number that is whole: 8080, and 8080.0 and 8.08e3,
// which JavaScript does not tell from it.
func integer(text string) (int, error) {
	if n, err := strconv.Atoi(text); err == nil {
		return n, nil
	}
	x, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0, err
	}
	if x != math.Trunc(x) || math.Abs(x) > 1<<53 {
		return 0, strconv.ErrRange
	}
	return int(x), nil
}

func (f *field) setText(target reflect.Value, raw json.RawMessage) []string {
	if raw[0] != '"' {
		return []string{f.typeProblem()}
	}
	var text string
	_ = json.Unmarshal(raw, &text) // raw is a valid JSON text
	if text == "" {
		switch {
		case f.required:
			return []string{f.name + " should not be empty"}
		case f.optional:
			return f.store(target, null)
		}
	}
	if problems := f.textProblems(text); problems != nil {
		return problems
	}
	return f.store(target, raw)
}

// maxList is how many texts a list may hold.
const maxList = 1000

// setList stores an array of texts; null among them is no text.
func (f *field) setList(target reflect.Value, raw json.RawMessage) []string {
	var texts []*string
	if json.Unmarshal(raw, &texts) != nil || slices.Contains(texts, nil) {
		return []string{f.typeProblem()}
	}
	if len(texts) > maxList {
		return []string{fmt.Sprintf("%s must contain not more than %d elements", f.name, maxList)}
	}
	for _, text := range texts {
		if problems := f.textProblems(*text); problems != nil {
			return problems
		}
	}
	return f.store(target, raw)
}

func (f *field) textProblems(text string) (problems []string) {
	length := utf8.RuneCountInString(text)
	if strings.ContainsRune(text, 0) {
		problems = append(problems, f.name+" must not contain NUL characters")
	}
	if f.maxLen > 0 && length > f.maxLen {
		problems = append(problems, fmt.Sprintf("%s must be shorter than or equal to %d characters", f.name, f.maxLen))
	}
	if length < f.minLen {
		problems = append(problems, fmt.Sprintf("%s must be longer than or equal to %d characters", f.name, f.minLen))
	}
	if f.enum != nil && !slices.Contains(f.enum, text) {
		problems = append(problems, f.typeProblem())
	}
	if f.email && !isEmail(text) {
		problems = append(problems, f.name+" must be an email")
	}
	return problems
}

// isEmail takes a bare address: no display name, comments or spaces.
func isEmail(text string) bool {
	a, err := mail.ParseAddress(text)
	return err == nil && a.Address == text
}

// store writes a value that passed the rules.
func (f *field) store(target reflect.Value, raw json.RawMessage) []string {
	if err := json.Unmarshal(raw, target.FieldByIndex(f.index).Addr().Interface()); err != nil {
		return []string{f.typeProblem()}
	}
	return nil
}
