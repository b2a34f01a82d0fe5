package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/adit-tunnel/adit/internal/config"
)

func TestExportAndImportGetFlagsVariablesAndTheStreams(t *testing.T) {
	t.Parallel()
	h := newHarness()
	h.env = func(name string) string {
		return map[string]string{"HOME": "/home/user", "ADIT_PASSPHRASE": "open sesame"}[name]
	}
	h.stdin = strings.NewReader("archive")
	want := config.Transfer{File: config.Standard, Data: "/data"}
	same := func(cfg config.Transfer) {
		if cfg.Passphrase.Reveal() != "open sesame" || cfg.File != want.File || cfg.Data != want.Data {
			t.Errorf("got %+v", cfg)
		}
	}
	h.export = func(_ context.Context, cfg config.Transfer, stdout, stderr io.Writer) error {
		same(cfg)
		_, err := fmt.Fprint(stdout, "archive")
		_, nerr := fmt.Fprintln(stderr, "done")
		return errors.Join(err, nerr)
	}
	h.imports = func(_ context.Context, cfg config.Transfer, stdin io.Reader, stderr io.Writer) error {
		same(cfg)
		text, err := io.ReadAll(stdin)
		_, nerr := fmt.Fprintf(stderr, "%s done\n", text)
		return errors.Join(err, nerr)
	}
	h.want(t, "export --file - --data /data", 0, "archive", "done\n")
	h.out.Reset()
	h.err.Reset()
	h.want(t, "import --file=- --data=/data", 0, "", "archive done\n")
}

func TestExportAndImportWithoutAFileOrPassphraseAreUsageErrors(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"export", "import"} {
		newHarness().want(t, name, 2, "", "adit: flag --file: is needed: the archive's path, or - for standard output or input\n"+
			"adit: flag --passphrase: is needed, best by --passphrase-file: what the archive is sealed with\nrun 'adit "+name+" --help'\n")
		h := newHarness()
		if code := h.call(name, "--help"); code != 0 || !strings.Contains(h.out.String(), "--passphrase-file FILE") {
			t.Errorf("%s --help: %d, %s", name, code, &h.out)
		}
	}
}
