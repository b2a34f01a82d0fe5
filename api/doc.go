// Package api holds what travels over adit's HTTP APIs: requests, answers,
// error codes and limits. Servers and clients share it, so it needs nothing
// but the standard library.
//
// Request types carry their rules as struct tags, which the server validates
// by and the OpenAPI document is made from: required, minLength, maxLength,
// minimum, maximum, enum, and zero:"null" where 0 means unset.
package api
