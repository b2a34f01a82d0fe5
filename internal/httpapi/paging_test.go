package httpapi

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/adit-tunnel/adit/api"
)

func TestPagesAreReadFromTheQuery(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		page, limit wholeNumber
		want        page
	}{
		{"", "", page{}},
		{"1", "", page{0, 20}},
		{"3", "", page{40, 20}},
		{"", "7", page{0, 7}},
		{"1", "1", page{0, 1}},
		{"2", "100", page{100, 100}},
		{"007", "05", page{30, 5}},
		{"21474836", "100", page{2147483500, 100}},
		{"21474838", "100", page{math.MaxInt32, 100}},
		{"9223372036854775807", "1", page{math.MaxInt32, 1}},
		{"99999999999999999999999999", "100", page{math.MaxInt32, 100}},
	} {
		in := InPage{Page: c.page, Limit: c.limit}
		if got, err := in.page(); err != nil || got != c.want {
			t.Errorf("page %q, limit %q: %v, %v, want %v", c.page, c.limit, got, err, c.want)
		}
	}
}

func TestWhatIsNoPageIsTold(t *testing.T) {
	t.Parallel()
	const page, limit = "page must be an integer not less than 1", "limit must be an integer from 1 to 100"
	for _, c := range []struct {
		page, limit wholeNumber
		want        []string
	}{
		{"0", "", []string{page}},
		{"-1", "", []string{page}},
		{"1.0", "", []string{page}},
		{"+1", "", []string{page}},
		{" 1", "", []string{page}},
		{"1e3", "", []string{page}},
		{"٣", "", []string{page}},
		{"one", "20", []string{page}},
		{"", "0", []string{limit}},
		{"", "101", []string{limit}},
		{"1", "99999999999999999999999999", []string{limit}},
		{"x", "x", []string{page, limit}},
	} {
		in := InPage{Page: c.page, Limit: c.limit}
		_, err := in.page()
		var told *api.Error
		if !errors.As(err, &told) || told.Code != api.CodeInvalid || !slices.Equal(told.Details, c.want) {
			t.Errorf("page %q, limit %q: %v", c.page, c.limit, err)
		}
	}
}
