package config

import (
	"reflect"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/internal/redact"
)

func TestTransferSetsEveryFieldFromEverySource(t *testing.T) {
	t.Parallel()
	values := map[string]string{"file": "/backup/a.adit", "passphrase": "open sesame", "data": "/data", "database": "postgres://h/d"}
	want := Transfer{File: "/backup/a.adit", Passphrase: redact.New("open sesame"), Data: "/data", Database: redact.New("postgres://h/d")}
	for source, in := range sources(t, TransferSettings(), values) {
		if got, err := LoadTransfer(in); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v", source, got, err)
		}
	}
}

func TestTransferHasTheServersDefaultsAndTakesNoFile(t *testing.T) {
	t.Parallel()
	path := write(t, "passphrase", "open sesame\n")
	got, err := LoadTransfer(input(flagTexts("file=-", "passphrase-file="+path), map[string]string{"ADIT_CONFIG": "/nowhere"}))
	if want := (Transfer{File: Standard, Passphrase: redact.New("open sesame"), Data: "/home/user/.local/share/adit"}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestTransferWantsAFileAndAPassphrase(t *testing.T) {
	t.Parallel()
	for problem, flags := range map[string]string{
		"flag --file: is needed":                           "passphrase=12345678",
		"flag --passphrase: is needed":                     "file=a",
		"flag --passphrase: has fewer than 8 characters":   "file=a passphrase=öffnes",
		"flag --database: is no URL of a PostgreSQL":       "file=a passphrase=12345678 database=sqlite",
		"flag --passphrase-file: read /nowhere: no such ":  "file=a passphrase-file=/nowhere",
		"flag --passphrase-file: flag --passphrase is giv": "file=a passphrase=12345678 passphrase-file=/nowhere",
	} {
		_, err := LoadTransfer(input(flagTexts(strings.Fields(flags)...), nil))
		if got := problemsOf(t, err); len(got) != 1 || !strings.HasPrefix(got[0], problem) || strings.Contains(got[0], "öffnes") {
			t.Errorf("%s: %q", flags, got)
		}
	}
}
