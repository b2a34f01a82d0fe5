package httpapi

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/adit-tunnel/adit/api"
)

// Rows of a page.
const (
	defaultLimit = 20
	maxLimit     = 100
)

// maxOffset is more rows than any list has, and few enough for every database
// to add a limit to it.
const maxOffset = math.MaxInt32

// page is a part of a list, its zero value the whole of it. It is of the same
// shape as the use cases' own, to be converted.
type page struct{ Offset, Limit int }

// wholeNumber is a parameter that the document calls a number. It is read as a
// text, so that what is wrong with it is told in the contract's words.
type wholeNumber string

// Schema implements huma.SchemaProvider.
func (wholeNumber) Schema(huma.Registry) *huma.Schema { return &huma.Schema{Type: huma.TypeInteger} }

// InPage is the input of what lists rows, embedded into the list's own. It is
// exported for huma, which looks into no other embedded structs.
type InPage struct {
	Page  wholeNumber `query:"page" minimum:"1" doc:"which page; 1 if only limit is given. Without either the whole list is answered"`
	Limit wholeNumber `query:"limit" minimum:"1" maximum:"100" doc:"rows of a page; 20 if only page is given"`
}

// page is what was asked for. Its error is an *api.Error.
func (in *InPage) page() (page, error) {
	if in.Page == "" && in.Limit == "" {
		return page{}, nil
	}
	number, limit := 1, defaultLimit
	var problems []string
	if in.Page != "" {
		var ok bool
		if number, ok = in.Page.read(); !ok || number < 1 {
			problems = append(problems, "page must be an integer not less than 1")
		}
	}
	if in.Limit != "" {
		var ok bool
		if limit, ok = in.Limit.read(); !ok || limit < 1 || limit > maxLimit {
			problems = append(problems, fmt.Sprintf("limit must be an integer from 1 to %d", maxLimit))
		}
	}
	if problems != nil {
		return page{}, api.Invalid(problems...)
	}
	if number-1 > maxOffset/limit {
		return page{Offset: maxOffset, Limit: limit}, nil
	}
	return page{Offset: (number - 1) * limit, Limit: limit}, nil
}

// read takes digits only. Of a number that no int holds it gives the largest.
func (n wholeNumber) read() (int, bool) {
	if strings.Trim(string(n), "0123456789") != "" {
		return 0, false
	}
	value, err := strconv.Atoi(string(n))
	if err != nil {
		return math.MaxInt, true
	}
	return value, true
}

// listAnswer is the answer of what lists rows.
type listAnswer[T any] struct {
	Total *int `header:"X-Total-Count" doc:"rows of the whole list; only where page or limit is given"`
	Body  []T
}

// list answers what a use case gave for p: rows, and how many there are in all.
func list[T any](p page, rows []T, total int, err error) (*listAnswer[T], error) {
	if err != nil {
		return nil, err
	}
	answer := &listAnswer[T]{Body: rows}
	if rows == nil {
		answer.Body = []T{} // never null
	}
	if p != (page{}) {
		answer.Total = &total
	}
	return answer, nil
}
