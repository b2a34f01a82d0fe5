package app

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/store"
)

// stopAction is what the audit calls a stop, whatever brought it about.
const stopAction = "stop-port-forward"

// object is one of several things that an act is about.
type object struct {
	action   string
	scope    access.Scope
	id, name string
	detail   string
}

// tell adds an entry about one object to a transaction of the act, beside the
// one about the act itself.
func (act *Act) tell(ctx context.Context, tx *store.Tx, about object) error {
	act.mu.Lock()
	if act.Action == "" {
		act.mu.Unlock()
		return nil
	}
	e, err := act.entryLocked(api.ResultOK)
	act.mu.Unlock()
	if err != nil {
		return err
	}
	e.Action, e.Scope, e.ObjectID, e.Object, e.Detail = about.action, about.scope, about.id, about.name, brief(about.detail)
	return tx.AppendAudit(ctx, e)
}

// stopWanted marks those of the forwards as stopped that shall run, and tells
// why of each.
func stopWanted(ctx context.Context, tx *store.Tx, list []store.Forward, why string) error {
	for _, f := range list {
		if !f.Wanted {
			continue
		}
		if err := tx.MarkStopped(ctx, f.ID); err != nil {
			return err
		}
		err := ActOf(ctx).tell(ctx, tx, object{action: stopAction, scope: f.Scope(), id: f.ID, name: f.Name, detail: why})
		if err != nil {
			return err
		}
	}
	return nil
}

const maxDetail = 500 // code points of an entry's detail

// brief is a detail as it is kept: a text that the database takes, of bounded
// length.
func brief(detail string) string {
	detail = strings.ReplaceAll(strings.ToValidUTF8(detail, "\uFFFD"), "\x00", "\uFFFD")
	if utf8.RuneCountInString(detail) <= maxDetail {
		return detail
	}
	return string([]rune(detail)[:maxDetail-1]) + "…"
}

// fieldNames are the fields of rows that clients know by another name, and with
// an empty one those that only follow from others.
var fieldNames = map[string]string{
	"LocalID": "localId", "ServerRef": "serverId", "ServerID": "serverId", "KeyRef": "keyId", "KeyID": "keyId",
	"SOCKSUsername": "socksUsername", "SOCKSPassword": "socksPassword",
	"ID": "", "UserID": "", "Namespace": "", "CreatedAt": "", "UpdatedAt": "", "PublicKey": "", "Fingerprint": "",
	"Wanted": "", "LastUsedAt": "", "LastPort": "",
}

// changes names the fields in which two versions of a row differ, as clients
// know them. It says no value, for some are secret.
func changes[R any](before, after R) string {
	var names []string
	b, a := reflect.ValueOf(before), reflect.ValueOf(after)
	for _, field := range reflect.VisibleFields(b.Type()) {
		if field.Anonymous || reflect.DeepEqual(b.FieldByIndex(field.Index).Interface(), a.FieldByIndex(field.Index).Interface()) {
			continue
		}
		if name := fieldName(field.Name); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if names == nil {
		return ""
	}
	return "changed: " + strings.Join(names, ", ")
}

func fieldName(field string) string {
	if name, ok := fieldNames[field]; ok {
		return name
	}
	first, size := utf8.DecodeRuneInString(field)
	return string(unicode.ToLower(first)) + field[size:]
}

// settingChanges names the settings that differ, with what they are made.
func settingChanges(before, after api.Settings) string {
	var said []string
	b, a := reflect.ValueOf(before), reflect.ValueOf(after)
	for _, field := range reflect.VisibleFields(b.Type()) {
		was, err1 := json.Marshal(b.FieldByIndex(field.Index).Interface())
		is, err2 := json.Marshal(a.FieldByIndex(field.Index).Interface())
		if err1 == nil && err2 == nil && string(was) != string(is) {
			said = append(said, field.Tag.Get("json")+": "+string(is))
		}
	}
	return strings.Join(said, ", ")
}
