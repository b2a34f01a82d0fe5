package api

// Synced answers a sync of rows of type T.
type Synced[T any] struct {
	Message     string      `json:"message"`
	SyncedCount int         `json:"syncedCount" doc:"distinct rows written"`
	Created     int         `json:"created"`
	Updated     int         `json:"updated" doc:"rows that were there, changed or not"`
	Errors      []SyncError `json:"errors"`
	Items       []T         `json:"items" doc:"the rows written, in the order of the request"`
}

// SyncError is an item of a sync that was not saved.
type SyncError struct {
	Index   int     `json:"index" doc:"its place in the request, from 0"`
	LocalID *string `json:"localId"`
	Message string  `json:"message"`
}
