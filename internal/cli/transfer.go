package cli

import (
	"github.com/spf13/cobra"

	"github.com/adit-tunnel/adit/internal/config"
)

const exportLong = `Writes all that adit keeps, with the keys that seal its secrets, to one file that is
sealed with a passphrase. "adit import" fills an empty database from it, on SQLite
or PostgreSQL, whichever it came from.

adit must not be running on the data directory. The file must not be there yet; it
comes into being whole or not at all.

` + transferLong

const importLong = `Fills an empty database with all that "adit export" wrote to a file, so that
passwords, sessions and tokens go on as they were. It happens all at once or not at
all.

adit must not be running on the data directory, which is made where there is none.
The file must be of an adit with the same schema. Its sealing keys are added to the
data directory's.

` + transferLong

const transferLong = `Who has the file and the passphrase has every secret in it.

Each flag can be given as an environment variable too, ADIT_ and its name in
capitals (--passphrase-file is ADIT_PASSPHRASE_FILE). A flag is stronger than a
variable.`

func (p *program) exportCommand() *cobra.Command {
	return p.transferCommand("export", "Write everything to a sealed file, to move it or as a backup", exportLong,
		func(cmd *cobra.Command, cfg config.Transfer) error {
			return p.export(cmd.Context(), cfg, p.stdout, p.stderr)
		})
}

func (p *program) importCommand() *cobra.Command {
	return p.transferCommand("import", "Fill an empty database from an exported file", importLong,
		func(cmd *cobra.Command, cfg config.Transfer) error {
			return p.imports(cmd.Context(), cfg, p.stdin, p.stderr)
		})
}

func (p *program) transferCommand(name, short, long string, run func(*cobra.Command, config.Transfer) error) *cobra.Command {
	var flags flagTexts
	cmd := &cobra.Command{
		Use:   name + " [flags]",
		Short: short,
		Long:  long,
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.LoadTransfer(config.Input{Flags: flags.given, Env: p.env})
			if err != nil {
				return asUsageError(cmd, err)
			}
			return run(cmd, cfg)
		},
	}
	flags.declare(cmd, config.TransferSettings())
	return cmd
}
