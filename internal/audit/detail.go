package audit

import (
	"reflect"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

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

// Changes names the fields in which two versions of a row differ, as clients
// know them. It says no value, for some are secret.
func Changes[R any](before, after R) string {
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
