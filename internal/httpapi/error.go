package httpapi

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/app"
)

// huma makes the errors that it finds itself with these package variables, as
// 422 with the offending value in them. Nothing is left for it to find, since
// parameters are texts and bodies are not its work; whatever it finds all the
// same is told in our shape, and only logged.
func init() {
	huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
		return fromHuma(context.Background(), status, message, errs)
	}
	huma.NewErrorWithContext = func(ctx huma.Context, status int, message string, errs ...error) huma.StatusError {
		return fromHuma(ctx.Context(), status, message, errs)
	}
	huma.DefaultArrayNullable = false
}

func fromHuma(ctx context.Context, status int, message string, errs []error) *errorAnswer {
	if status < http.StatusInternalServerError {
		return toldFrom(ctx, slog.Default(), &api.Error{Code: api.CodeBadRequest, Message: "Bad Request"})
	}
	return toldFrom(ctx, slog.Default(), fmt.Errorf("%s: %w", message, errors.Join(errs...)))
}

// statuses is what each code is in HTTP. A code that is not here is 500.
var statuses = map[api.Code]int{
	api.CodeInvalid:          http.StatusBadRequest,
	api.CodeBadRequest:       http.StatusBadRequest,
	api.CodeUnauthorized:     http.StatusUnauthorized,
	api.CodeForbidden:        http.StatusForbidden,
	api.CodeNotFound:         http.StatusNotFound,
	api.CodeMethodNotAllowed: http.StatusMethodNotAllowed,
	api.CodeRequestTimeout:   http.StatusRequestTimeout,
	api.CodeConflict:         http.StatusConflict,
	api.CodeLimitReached:     http.StatusForbidden,
	api.CodeTooManyActive:    http.StatusConflict,
	api.CodeTooLarge:         http.StatusRequestEntityTooLarge,
	api.CodeUnsupportedMedia: http.StatusUnsupportedMediaType,
	api.CodeTooManyRequests:  http.StatusTooManyRequests,
	api.CodeInternal:         http.StatusInternalServerError,

	api.CodeServerMissing:      http.StatusBadRequest,
	api.CodeTargetMissing:      http.StatusBadRequest,
	api.CodePortMissing:        http.StatusBadRequest,
	api.CodeUsernameMissing:    http.StatusBadRequest,
	api.CodeCredentialsMissing: http.StatusBadRequest,
	api.CodeKeyPathDenied:      http.StatusBadRequest,

	api.CodeListenInUse:         http.StatusConflict,
	api.CodeListenDenied:        http.StatusConflict,
	api.CodeTargetDenied:        http.StatusConflict,
	api.CodeRemoteListenRefused: http.StatusConflict,
	api.CodeStopped:             http.StatusConflict,

	api.CodeNameNotFound:      http.StatusBadGateway,
	api.CodeConnectRefused:    http.StatusBadGateway,
	api.CodeUnreachable:       http.StatusBadGateway,
	api.CodeNotSSH:            http.StatusBadGateway,
	api.CodeNoCommonAlgorithm: http.StatusBadGateway,
	api.CodeAuthFailed:        http.StatusBadGateway,
	api.CodeHostKeyChanged:    http.StatusBadGateway,
	api.CodeHostKeyUnknown:    http.StatusBadGateway,
	api.CodeConnectionLost:    http.StatusBadGateway,

	api.CodeTimeout:          http.StatusGatewayTimeout,
	api.CodeSecretUnreadable: http.StatusInternalServerError,
	api.CodeStorageFull:      http.StatusInsufficientStorage,
	api.CodeUnavailable:      http.StatusServiceUnavailable,
}

// errorAnswer is an error as it goes over the wire.
type errorAnswer struct {
	api.ErrorBody

	retryAfter time.Duration // 0: nothing is said of it
}

// Error implements error.
func (e *errorAnswer) Error() string { return fmt.Sprint(e.Message) }

// GetStatus implements huma.StatusError.
func (e *errorAnswer) GetStatus() int { return e.StatusCode }

// GetHeaders implements huma.HeadersError.
func (e *errorAnswer) GetHeaders() http.Header {
	h := http.Header{}
	if e.retryAfter > 0 {
		// Whole seconds (RFC 9110, section 10.2.3); one that came too early would be refused again.
		h.Set("Retry-After", strconv.FormatInt(int64((e.retryAfter+time.Second-1)/time.Second), 10))
	}
	return h
}

// toldFrom makes of any error what may be shown, and logs what may not: the
// causes of errors of ours.
func toldFrom(ctx context.Context, logger *slog.Logger, err error) *errorAnswer {
	var told *api.Error
	if !errors.As(app.Explain(err), &told) {
		told = &api.Error{Code: api.CodeInternal, Message: "internal error", Err: err}
	}
	status := statuses[told.Code]
	if status == 0 {
		status = http.StatusInternalServerError
	}
	ours := status == http.StatusInternalServerError || status == http.StatusServiceUnavailable || status == http.StatusInsufficientStorage
	if ours && ctx.Err() == nil {
		logger.ErrorContext(ctx, "request failed", "request", requestFrom(ctx).id, "error", err)
	}
	answer := &errorAnswer{retryAfter: told.RetryAfter, ErrorBody: api.ErrorBody{
		StatusCode: status, Message: told.Message, Status: http.StatusText(status), Code: told.Code, Hint: told.Hint,
	}}
	if told.Code == api.CodeInvalid && len(told.Details) > 0 {
		answer.Message = told.Details
	}
	return answer
}

// writeError answers outside huma's handlers.
func writeError(w http.ResponseWriter, r *http.Request, logger *slog.Logger, err error) {
	answer := toldFrom(r.Context(), logger, err)
	maps.Copy(w.Header(), answer.GetHeaders())
	w.Header().Set("Content-Type", jsonType)
	w.WriteHeader(answer.StatusCode)
	_ = marshal(w, answer)
}
