package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/archive"
	"github.com/adit-tunnel/adit/internal/config"
	"github.com/adit-tunnel/adit/internal/secret"
	"github.com/adit-tunnel/adit/internal/store"
	"github.com/adit-tunnel/adit/internal/telemetry"
)

// Export is `adit export`: it writes all that is in the database, and the sealing
// keys, to a new archive, and says so on notes.
func Export(ctx context.Context, cfg config.Transfer, stdout, notes io.Writer) error {
	rows, err := export(ctx, cfg, stdout)
	if err != nil {
		return transferError(ctx, err, "exported")
	}
	_, err = fmt.Fprintf(notes, "exported %s to %s\n", rows, nameOf(cfg.File, "standard output"))
	return err
}

func export(ctx context.Context, cfg config.Transfer, stdout io.Writer) (rows *rowCount, err error) {
	if cfg.File != config.Standard {
		if err := mustBeFree(cfg.File); err != nil { // as newFile will, which is later
			return nil, err
		}
	}
	d, err := openOlder(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer d.close()
	if err := d.keysFit(ctx); err != nil {
		return nil, err
	}
	write := func(to io.Writer) (err error) {
		rows, err = d.dump(ctx, to, cfg)
		return err
	}
	if cfg.File == config.Standard {
		return rows, write(stdout)
	}
	return rows, newFile(cfg.File, write)
}

// openOlder opens a data directory that is there. It makes none: that would be
// an archive of nothing.
func openOlder(ctx context.Context, cfg config.Transfer) (*data, error) {
	d := &data{dir: cfg.Data}
	needed := d.path(storeFile)
	if !cfg.Database.IsZero() {
		needed = d.path(keyFile)
	}
	if _, err := os.Stat(needed); errors.Is(err, fs.ErrNotExist) {
		return nil, &api.Error{Code: api.CodeNotFound, Err: err, Message: "there is nothing to export: no " + needed,
			Hint: "name the data directory with --data, and with --database the database that adit serves, if it is PostgreSQL's"}
	}
	return openData(ctx, cfg.Data, cfg.Database)
}

// keysFit refuses keys that do not open every signing key: with them an archive
// would be no backup, and nobody would know. One that opens is not enough, for a
// start with a wrong key file makes such a one.
func (d *data) keysFit(ctx context.Context) error {
	signing, err := d.store.SigningKeys(ctx)
	if err != nil {
		return err
	}
	var shut []error
	for _, row := range signing {
		if _, err := d.keys.Open(row.Sealed, signingRow(row.ID)); err != nil {
			shut = append(shut, err)
		}
	}
	if shut == nil {
		return nil
	}
	return &api.Error{
		Code: api.CodeSecretUnreadable, Err: errors.Join(shut...),
		Message: fmt.Sprintf("%s lacks keys that sealed what is in the database: it does not open %d of %d signing keys", d.path(keyFile), len(shut), len(signing)),
		Hint: "put the right key file there, from your backup; if adit served with several, put the lines of all into one, the one to seal with last. " +
			"If one is lost for good, serve with what there is: a signing key goes once another has been in its place for a week",
	}
}

// dump writes the archive.
func (d *data) dump(ctx context.Context, to io.Writer, cfg config.Transfer) (*rowCount, error) {
	schema, err := store.Schema()
	if err != nil {
		return nil, err
	}
	w, err := archive.Create(to, cfg.Passphrase, archive.Costs{})
	if err != nil {
		return nil, err
	}
	lines, rows := lineWriter{to: w}, newRowCount()
	err = lines.put(headLine{
		Format: lineFormat, Schema: schema, Adit: telemetry.ReadBuild().String(), At: store.Now(), Keys: d.keys.Text().Reveal(),
	})
	if err != nil {
		return nil, err
	}
	err = d.store.Read(ctx, func(r *store.Reader) error {
		return r.Dump(ctx, func(table string, row store.Values) error {
			rows.add(table)
			return lines.put(rowLine{Table: table, Row: toLine(row)})
		})
	})
	if err == nil {
		err = lines.put(rowLine{Rows: &rows.all})
	}
	if err == nil {
		err = w.Close()
	}
	return rows, err
}

// Import is `adit import`: it fills an empty database from an archive, all of it
// or nothing, and says so on notes.
func Import(ctx context.Context, cfg config.Transfer, stdin io.Reader, notes io.Writer) error {
	name := nameOf(cfg.File, "standard input")
	rows, err := importFrom(ctx, cfg, name, stdin)
	if err != nil {
		return transferError(ctx, err, "imported")
	}
	_, err = fmt.Fprintf(notes, "imported %s from %s\n", rows, name)
	return err
}

func importFrom(ctx context.Context, cfg config.Transfer, name string, from io.Reader) (*rowCount, error) {
	if cfg.File != config.Standard {
		f, err := os.Open(cfg.File)
		if err != nil {
			return nil, err
		}
		defer func() { _ = f.Close() }()
		from = f
	}
	// Before anything is made: the passphrase is right, and the schema is ours.
	lines, err := openLines(from, name, cfg.Passphrase)
	if err != nil {
		return nil, err
	}
	d, err := lockData(cfg.Data)
	if err != nil {
		return nil, err
	}
	defer d.close()
	return d.load(ctx, cfg, lines)
}

// load fills the database, which must be empty.
func (d *data) load(ctx context.Context, cfg config.Transfer, lines *lineReader) (rows *rowCount, err error) {
	if err := d.openStore(ctx, cfg.Database); err != nil {
		return nil, err
	}
	err = d.store.Write(ctx, func(tx *store.Tx) error {
		used, err := tx.Used(ctx)
		if err != nil {
			return err
		}
		if len(used) > 0 {
			return usedError(d, cfg, used)
		}
		if rows, err = loadRows(ctx, tx, lines); err != nil {
			return err
		}
		// The keys go first: rows that no key opens would be worth nothing, and a
		// key that opens none does no harm.
		d.keys, err = secret.AddToFile(d.path(keyFile), lines.keys)
		return err
	})
	return rows, err
}

// loadRows writes all rows and sees that the archive ends after them.
func loadRows(ctx context.Context, tx *store.Tx, lines *lineReader) (*rowCount, error) {
	to, err := tx.Loader(ctx)
	if err != nil {
		return nil, err
	}
	rows := newRowCount()
	for {
		table, row, err := lines.next(rows.all)
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, err
		}
		if err := to.Load(ctx, table, row); err != nil {
			return nil, err
		}
		rows.add(table)
	}
}

func usedError(d *data, cfg config.Transfer, tables []string) error {
	name, hint := d.path(storeFile), "name a new data directory with --data"
	if !cfg.Database.IsZero() {
		name, hint = "that --database names", "name an empty one"
	}
	return &api.Error{Code: api.CodeConflict, Hint: "import into an empty database only: " + hint,
		Message: fmt.Sprintf("the database %s is not empty: it has rows in %s", name, strings.Join(tables, ", "))}
}

// transferError puts what may end a transfer into words.
func transferError(ctx context.Context, err error, done string) error {
	switch {
	case ctx.Err() != nil:
		// Not the context's own error, which ends a command with success.
		return errors.New("interrupted: nothing was " + done)
	case errors.Is(err, store.ErrFull):
		return &api.Error{Code: api.CodeStorageFull, Err: err, Message: "the disk is full: nothing was " + done}
	}
	return err
}

func nameOf(file, standard string) string {
	if file == config.Standard {
		return standard
	}
	return file
}
