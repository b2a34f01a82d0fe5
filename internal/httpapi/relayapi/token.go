package relayapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/policy"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/relay"
)

// Bounds of what a request may hold.
const (
	maxBody  = 64 << 10
	maxRules = 256 // in one list
	maxRule  = 300 // bytes: the longest name with its ports fits
)

const textBody = "invalid request body"

// tokenInput is the body of a request for a token. Names that it does not have
// are ignored, and so are fields of other kinds. Null is as if it were absent.
type tokenInput struct {
	_                struct{}   `additionalProperties:"true"`
	Kind             relay.Kind `json:"type" required:"true" enum:"forward,reverse,connector"`
	Token            string     `json:"token" required:"false" nullable:"true" doc:"at most 255 bytes; one is made up if none is given"`
	Port             port       `json:"port" required:"false" doc:"reverse: its SOCKS5 port; the relay picks one if none or 0 is given"`
	Username         string     `json:"username" required:"false" nullable:"true" doc:"reverse: user name that SOCKS5 clients must give"`
	Password         string     `json:"password" required:"false" nullable:"true" format:"password" doc:"reverse: password that SOCKS5 clients must give"`
	ReverseToken     string     `json:"reverse_token" required:"false" nullable:"true" doc:"connector, where it is required: whose providers it may use"`
	ManageConnectors bool       `json:"allow_manage_connector" required:"false" nullable:"true" doc:"reverse: its providers manage connector tokens of their own"`
	Allow            []string   `json:"allow" required:"false" nullable:"true" maxItems:"256" doc:"policy rules for targets; none allow all that is not denied"`
	Deny             []string   `json:"deny" required:"false" nullable:"true" maxItems:"256" doc:"policy rules for targets, stronger than allow"`
}

// tokenChoice is the body of a request about one token.
type tokenChoice struct {
	_     struct{} `additionalProperties:"true"`
	Token string   `json:"token" required:"true"`
}

// port is a JSON integer of any size. Which of them are ports is for the relay to
// say, but those that no int holds cannot get there.
type port struct {
	number  int
	outside bool // no int holds it
}

// Schema implements huma.SchemaProvider.
func (port) Schema(huma.Registry) *huma.Schema {
	least, most := 0.0, 65535.0
	return &huma.Schema{Type: huma.TypeInteger, Nullable: true, Minimum: &least, Maximum: &most}
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *port) UnmarshalJSON(raw []byte) error {
	if string(raw) == "null" {
		return nil
	}
	n, err := strconv.Atoi(string(raw))
	if errors.Is(err, strconv.ErrSyntax) {
		return err
	}
	*p = port{number: n, outside: err != nil}
	return nil
}

// badRequest is a refusal that the relay need not be asked about.
func badRequest(text string) error { return &relay.TokenError{Problem: relay.Invalid, Text: text} }

func (h *handler) add(w http.ResponseWriter, r *http.Request) {
	body, ok := readBody(w, r)
	if !ok {
		return
	}
	spec, err := specFrom(body)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	added, err := h.Tokens.Add(r.Context(), spec)
	if err != nil {
		h.fail(w, r, err)
		return
	}
	a := api.RelayToken{Success: true, Token: api.Secret(added.Token.Reveal())}
	if spec.Kind == relay.Reverse {
		a.Port = &added.Port
	}
	answer(w, http.StatusOK, a)
}

// remove ends the token in the path or, if there is none, in the body.
func (h *handler) remove(w http.ResponseWriter, r *http.Request) {
	token := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, tokenPath), "/") // decoded, and not cleaned
	if token == "" {
		body, ok := readBody(w, r)
		if !ok {
			return
		}
		if len(body) > 0 {
			var asked tokenChoice
			if err := decode(body, &asked); err != nil {
				h.fail(w, r, err)
				return
			}
			token = asked.Token
		}
	}
	if token == "" {
		refuse(w, http.StatusBadRequest, "token not specified")
		return
	}
	if err := h.Tokens.Remove(r.Context(), redact.New(token)); err != nil {
		h.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, api.RelayToken{Success: true, Token: api.Secret(token)})
}

// readBody reads the body whatever its type, or answers why not.
func readBody(w http.ResponseWriter, r *http.Request) (body []byte, ok bool) {
	const tooLarge = "request body too large"
	if r.ContentLength > maxBody {
		refuse(w, http.StatusRequestEntityTooLarge, tooLarge)
		return nil, false
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		refuse(w, http.StatusRequestTimeout, "request body took too long")
		return nil, false
	case err != nil:
		refuse(w, http.StatusBadRequest, textBody)
		return nil, false
	case len(body) > maxBody:
		refuse(w, http.StatusRequestEntityTooLarge, tooLarge)
		return nil, false
	}
	// Were it to pass later, it would end the request's context.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return body, true
}

// decode reads exactly one JSON value. Broken UTF-8 is refused: decoding would
// replace it in silence, and make another token of it.
func decode(body []byte, into any) error {
	if !utf8.Valid(body) || json.Unmarshal(body, into) != nil {
		return badRequest(textBody)
	}
	return nil
}

// specFrom reads what token is asked for. Fields that its kind does not have are
// ignored.
func specFrom(body []byte) (relay.TokenSpec, error) {
	var asked tokenInput
	if err := decode(body, &asked); err != nil {
		return relay.TokenSpec{}, err
	}
	spec := relay.TokenSpec{
		Kind: asked.Kind, Token: redact.New(asked.Token), Allow: asked.Allow, Deny: asked.Deny,
	}
	switch asked.Kind {
	case relay.Forward:
	case relay.Reverse:
		if asked.Port.outside {
			return relay.TokenSpec{}, badRequest("invalid port")
		}
		spec.Port, spec.Username, spec.Password = asked.Port.number, asked.Username, redact.New(asked.Password)
		spec.ManageConnectors = asked.ManageConnectors
	case relay.Connector:
		if asked.ReverseToken == "" {
			return relay.TokenSpec{}, badRequest("reverse_token is required for connector token")
		}
		spec.ReverseToken = redact.New(asked.ReverseToken)
	default:
		return relay.TokenSpec{}, badRequest("invalid token type")
	}
	if err := checkRules("allow", spec.Allow); err != nil {
		return relay.TokenSpec{}, err
	}
	return spec, checkRules("deny", spec.Deny)
}

// checkRules refuses a list of policy rules that the relay could not apply;
// which is the list's name.
func checkRules(which string, rules []string) error {
	if len(rules) > maxRules {
		return badRequest(fmt.Sprintf("invalid rule: %s has %d rules, at most %d can be", which, len(rules), maxRules))
	}
	for i, rule := range rules {
		if len(rule) > maxRule {
			return badRequest(fmt.Sprintf("invalid rule: %s rule %d is longer than %d bytes", which, i+1, maxRule))
		}
		if _, err := policy.ParseRule(rule); err != nil {
			return badRequest(fmt.Sprintf("invalid rule: %s %v", which, err))
		}
	}
	return nil
}
