package api

import (
	"strings"
	"time"
)

// Code names the reason of an error, stable for programs to act on.
type Code string

// The codes of the control API. The comment names the HTTP status of each.
const (
	CodeInvalid          Code = "invalid"            // 400: the request's body or query, see Error.Details
	CodeBadRequest       Code = "bad_request"        // 400: the request as a whole
	CodeUnauthorized     Code = "unauthorized"       // 401
	CodeForbidden        Code = "forbidden"          // 403
	CodeNotFound         Code = "not_found"          // 404
	CodeMethodNotAllowed Code = "method_not_allowed" // 405
	CodeRequestTimeout   Code = "request_timeout"    // 408: the body took too long to arrive
	CodeConflict         Code = "conflict"           // 409
	CodeLimitReached     Code = "limit_reached"      // 403: the message names the limit
	CodeTooManyActive    Code = "too_many_active"    // 409: the message names the limit
	CodeTooLarge         Code = "too_large"          // 413
	CodeUnsupportedMedia Code = "unsupported_media"  // 415
	CodeTooManyRequests  Code = "too_many_requests"  // 429, with Retry-After
	CodeInternal         Code = "internal"           // 500

	CodeServerMissing      Code = "server_missing"      // 400: a forward names no SSH server
	CodeTargetMissing      Code = "target_missing"      // 400: no port to deliver to
	CodePortMissing        Code = "port_missing"        // 400: a remote forward without a port to listen on
	CodeUsernameMissing    Code = "username_missing"    // 400
	CodeCredentialsMissing Code = "credentials_missing" // 400
	CodeKeyPathDenied      Code = "key_path_denied"     // 400

	CodeListenInUse         Code = "listen_in_use"         // 409
	CodeListenDenied        Code = "listen_denied"         // 409
	CodeTargetDenied        Code = "target_denied"         // 409
	CodeRemoteListenRefused Code = "remote_listen_refused" // 409
	CodeStopped             Code = "stopped"               // 409

	CodeNameNotFound      Code = "name_not_found"      // 502
	CodeConnectRefused    Code = "connect_refused"     // 502
	CodeUnreachable       Code = "unreachable"         // 502
	CodeNotSSH            Code = "not_ssh"             // 502
	CodeNoCommonAlgorithm Code = "no_common_algorithm" // 502
	CodeAuthFailed        Code = "auth_failed"         // 502
	CodeHostKeyChanged    Code = "host_key_changed"    // 502
	CodeHostKeyUnknown    Code = "host_key_unknown"    // 502
	CodeConnectionLost    Code = "connection_lost"     // 502

	CodeTimeout          Code = "timeout"           // 504: the message says in which step
	CodeSecretUnreadable Code = "secret_unreadable" // 500: sealed with another key
	CodeStorageFull      Code = "storage_full"      // 507
	CodeUnavailable      Code = "unavailable"       // 503
)

// Error is the one error that people are shown: what happened and to what
// (Message), and what they can do about it (Hint). Neither ever holds a secret.
type Error struct {
	Code    Code
	Message string
	Hint    string   // may be empty
	Details []string // CodeInvalid only: one sentence for each thing wrong
	Err     error    // the cause, for logs; never shown

	RetryAfter time.Duration // CodeTooManyRequests only: how long until another try is looked at
}

func (e *Error) Error() string {
	if len(e.Details) > 0 {
		return strings.Join(e.Details, "; ")
	}
	return e.Message
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Invalid is the error of a body or query: one sentence for each thing wrong.
func Invalid(details ...string) *Error {
	return &Error{Code: CodeInvalid, Message: "Validation failed", Details: details}
}

// ErrorBody is an error on the wire.
type ErrorBody struct {
	StatusCode int    `json:"statusCode"`
	Message    any    `json:"message" doc:"one sentence; where code is invalid, a list of them"`
	Status     string `json:"error" doc:"the status in words"`
	Code       Code   `json:"code,omitempty"`
	Hint       string `json:"hint,omitempty" doc:"what to do about it"`
}
