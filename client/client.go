// Package client calls adit's HTTP APIs: the control API ([Client]), with one
// method for each operation of the OpenAPI document, and the relay's ([Relay]).
//
// What a server refuses is an *api.Error, the same that the server made:
//
//	var refused *api.Error
//	if errors.As(err, &refused) && refused.Code == api.CodeNotFound { … }
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/adit-tunnel/adit/api"
)

// maxAnswer bounds what is read of an answer, in bytes. A list of 10 000 port
// forwards has about 12 MB.
const maxAnswer = 256 << 20

// Client calls the control API. It is safe for concurrent use.
type Client struct {
	base  *url.URL
	http  *http.Client
	token api.Secret
}

// New makes a client of the server at base, such as http://localhost:3000. It
// calls through h; nil is a client of its own with a time limit of one minute,
// which is longer than the start of a port forward takes.
func New(base string, h *http.Client) (*Client, error) {
	u, err := url.Parse(strings.TrimSuffix(base, "/"))
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("client: %q is no URL of a server, such as http://localhost:3000", base)
	}
	if h == nil {
		h = &http.Client{Timeout: time.Minute}
	}
	return &Client{base: u, http: h}, nil
}

// WithToken gives a client that sends this token: of a session (Login) or an API
// token.
func (c *Client) WithToken(token api.Secret) *Client {
	with := *c
	with.token = token
	return &with
}

// In says which rows a call is about: the caller's own when empty, or those of
// the team with this id.
type In string

// Page is a part of a list. The zero value is the whole list.
type Page struct {
	Number int // from 1; 0 for 1 where Limit is given
	Limit  int // rows, 1 to 100; 0 for 20 where Number is given
}

func (p Page) into(q url.Values) {
	if p.Number != 0 {
		q.Set("page", strconv.Itoa(p.Number))
	}
	if p.Limit != 0 {
		q.Set("limit", strconv.Itoa(p.Limit))
	}
}

// List is rows, and how many there are in the whole list.
type List[T any] struct {
	Rows  []T
	Total int
}

func (i In) query() url.Values {
	q := url.Values{}
	if i != "" {
		q.Set("namespace", string(i))
	}
	return q
}

// join makes a path of segments, each of which may hold anything.
func join(segments ...string) string {
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return "/" + strings.Join(segments, "/")
}

// call sends a request and reads the answer of type T. body is sent as JSON; nil
// sends none.
func call[T any](ctx context.Context, c *Client, method, path string, query url.Values, body any) (out T, err error) {
	answer, err := c.send(ctx, method, path, query, body)
	if err != nil {
		return out, err
	}
	return decode[T](method, path, answer)
}

// callList is call for lists.
func callList[T any](ctx context.Context, c *Client, path string, query url.Values, page Page) (list List[T], err error) {
	page.into(query)
	answer, err := c.send(ctx, http.MethodGet, path, query, nil)
	if err != nil {
		return list, err
	}
	total := answer.Header.Get("X-Total-Count")
	if list.Rows, err = decode[[]T](http.MethodGet, path, answer); err != nil {
		return list, err
	}
	if list.Total = len(list.Rows); total != "" {
		list.Total, err = strconv.Atoi(total)
	}
	return list, err
}

// send gives the answer of a request that went well. Its body is to be closed.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, body any) (*http.Response, error) {
	target := c.base.String() + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var sent io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", method, path, err)
		}
		sent = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, sent)
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+string(c.token))
	}
	answer, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if answer.StatusCode >= 300 {
		defer answer.Body.Close()
		return nil, refusal(method, path, answer)
	}
	return answer, nil
}

func decode[T any](method, path string, answer *http.Response) (out T, err error) {
	defer answer.Body.Close()
	if err := json.NewDecoder(io.LimitReader(answer.Body, maxAnswer)).Decode(&out); err != nil {
		return out, fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	return out, nil
}

// StatusError is an answer that is not adit's: something in between made it.
type StatusError struct {
	Status  int
	Request string // method and path
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s: %d %s, which is not an answer of adit's", e.Request, e.Status, http.StatusText(e.Status))
}

// refusal makes the error again that the server had.
func refusal(method, path string, answer *http.Response) error {
	var body struct {
		Message json.RawMessage `json:"message"`
		Code    api.Code        `json:"code"`
		Hint    string          `json:"hint"`
	}
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err == nil {
		err = json.Unmarshal(text, &body)
	}
	told := &api.Error{Code: body.Code, Hint: body.Hint}
	if err == nil {
		err = json.Unmarshal(body.Message, &told.Message)
		if err != nil {
			err = json.Unmarshal(body.Message, &told.Details)
			told.Message = "Validation failed"
		}
	}
	if err != nil || told.Code == "" {
		return &StatusError{Status: answer.StatusCode, Request: method + " " + path}
	}
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil {
		told.RetryAfter = time.Duration(seconds) * time.Second
	}
	return told
}

// IsCode reports whether err is a refusal with this code.
func IsCode(err error, code api.Code) bool {
	var told *api.Error
	return errors.As(err, &told) && told.Code == code
}
