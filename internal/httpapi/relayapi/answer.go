package relayapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/relay"
)

// refused answers a wish that did not.
type refused struct {
	Success bool   `json:"success" enum:"false"`
	Error   string `json:"error"`
}

// problems is what each problem with a token is in HTTP.
var problems = map[relay.TokenProblem]int{
	relay.Invalid:  http.StatusBadRequest,
	relay.NotFound: http.StatusNotFound,
	relay.Conflict: http.StatusConflict,
}

// codes is what the errors for people that the relay may answer are in HTTP.
var codes = map[api.Code]int{
	api.CodeUnavailable: http.StatusServiceUnavailable,
	api.CodeStorageFull: http.StatusInsufficientStorage,
}

// fail answers an error of the relay's: what is meant for the caller with its
// text, all else only in the log.
func (h *handler) fail(w http.ResponseWriter, r *http.Request, err error) {
	var token *relay.TokenError
	if errors.As(err, &token) && problems[token.Problem] != 0 {
		refuse(w, problems[token.Problem], token.Text)
		return
	}
	var told *api.Error
	if errors.As(err, &told) && codes[told.Code] != 0 {
		refuse(w, codes[told.Code], told.Message)
		return
	}
	if gone := r.Context().Err() != nil && errors.Is(err, context.Canceled); !gone {
		// The path stays out: it may hold a token.
		h.Logger.ErrorContext(r.Context(), "a request to the relay's API broke", "method", r.Method, "error", err)
	}
	refuse(w, http.StatusInternalServerError, "internal error")
}

func refuse(w http.ResponseWriter, status int, text string) {
	answer(w, status, refused{Error: text})
}

// answer writes a body. What cannot be written has nobody to read it.
func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
