package store

import (
	"errors"
	"fmt"
)

var (
	// ErrNotFound is a row that is not there.
	ErrNotFound = errors.New("no such row")
	// ErrAmbiguous is a localId that several teams of the caller use. It is an
	// ErrNotFound too: none of them is the one that was meant.
	ErrAmbiguous = fmt.Errorf("the localId is used in several teams: %w", ErrNotFound)
	// ErrConflict is a value that another row has already, see ConflictError.
	ErrConflict = errors.New("already taken")
	// ErrFull is a write for which there was no space. Nothing of it was kept,
	// and reading goes on.
	ErrFull = errors.New("no space left for the database")
	// ErrUnavailable is a PostgreSQL database that cannot be reached just now, or
	// that another process has taken over, see UsedError.
	ErrUnavailable = errors.New("no connection to the database")
)

// Constraint names what must be unique.
type Constraint string

// The constraints that a caller can run into. Other tables and ids have theirs
// as "table.column".
const (
	UserEmail      Constraint = "users.email"
	ServerLocalID  Constraint = "servers.local_id"
	KeyLocalID     Constraint = "ssh_keys.local_id"
	ForwardLocalID Constraint = "forwards.local_id"
	TeamName       Constraint = "teams.name"
	TeamMember     Constraint = "team_members.team_id"
)

// ConflictError is a write that would have broken a uniqueness. It is an
// ErrConflict.
type ConflictError struct {
	Constraint Constraint
	Err        error // the driver's
	primary    bool  // it is that of the primary key
}

func (e *ConflictError) Error() string { return string(e.Constraint) + " already taken" }

// Is makes it an ErrConflict.
func (e *ConflictError) Is(target error) bool { return target == ErrConflict }

// Unwrap gives the driver's error.
func (e *ConflictError) Unwrap() error { return e.Err }

// UsedError is a PostgreSQL database that another process has open. It is an
// ErrUnavailable.
type UsedError struct {
	Database string // host/name
}

func (e *UsedError) Error() string {
	return fmt.Sprintf("database %s is used by another adit", e.Database)
}

// Is makes it an ErrUnavailable.
func (e *UsedError) Is(target error) bool { return target == ErrUnavailable }

// NewerError is a database that a newer program wrote.
type NewerError struct {
	Database string // the path, or host/name
	Has      int    // its schema
	Knows    int    // the newest schema that this program knows
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("database %s has schema %d, this adit knows %d: use a newer adit", e.Database, e.Has, e.Knows)
}

// driverError turns what a driver says into what callers act on.
func driverError(err error) error {
	if err == nil || errors.Is(err, ErrConflict) || errors.Is(err, ErrFull) || errors.Is(err, ErrUnavailable) {
		return err // translated already
	}
	return postgresError(sqliteError(err))
}

// interrupted tells what a driver says of a statement whose context ended.
func interrupted(err error) bool { return sqliteInterrupted(err) || postgresInterrupted(err) }
