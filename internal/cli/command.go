package cli

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/adit-tunnel/adit/internal/config"
	"github.com/adit-tunnel/adit/internal/telemetry"
)

const serveLong = `Runs the server: the control API, every port forward that is wanted, and a relay
whose tokens its HTTP API adds and removes.

It needs no preparation: the data directory, the database and the keys are made
on the first start. "adit ready …" on standard output says that it accepts
connections; the log goes to standard error. SIGTERM and SIGINT end it once open
streams have ended, after --drain at the latest; a second signal ends it at once.

` + sourcesLong + `
Where ADIT_API_KEY or ADIT_SOCKS_HOST is unset, linksocks' variable counts, with
LINKSOCKS_ in place of ADIT_.`

const sourcesLong = `Each flag can be given as an environment variable too, ADIT_ and its name in
capitals (--log-level is ADIT_LOG_LEVEL; a list is separated by commas), and as a
key of the --config file. A flag is stronger than a variable, a variable than the
file. Whatever is stronger replaces a list as a whole.`

func (p *program) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:               "adit",
		Short:             "adit is a self-hosted tunnel server: SSH port forwards under an HTTP API, and a SOCKS5-over-WebSocket relay",
		SilenceErrors:     true, // report tells them
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Version:           telemetry.ReadBuild().String(),
		Args:              knownCommand,
		RunE:              p.helpInstead,
	}
	root.SetVersionTemplate("adit {{.Version}}\n")
	root.SetUsageFunc(usage)
	root.SetFlagErrorFunc(flagError)
	root.AddCommand(p.serveCommand(), p.relayCommand(), p.demoCommand(), p.exportCommand(), p.importCommand(), p.versionCommand())
	root.SetHelpCommand(helpCommand())
	return root
}

// helpInstead is what a command does that is only the name of several.
func (p *program) helpInstead(cmd *cobra.Command, _ []string) error {
	cmd.SetOut(p.stderr) // nothing was asked for: this is no output
	if err := cmd.Help(); err != nil {
		return err
	}
	return &usageError{} // the help has said it all
}

func (p *program) serveCommand() *cobra.Command {
	var flags flagTexts
	cmd := &cobra.Command{
		Use:   "serve [flags]",
		Short: "Run the server",
		Long:  serveLong,
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(config.Input{Flags: flags.given, Env: p.env})
			if err != nil {
				return asUsageError(cmd, err)
			}
			return p.serve(cmd.Context(), cfg, p.stdout, p.stderr)
		},
	}
	flags.declare(cmd, config.Settings())
	return cmd
}

func (p *program) demoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "demo",
		Short: "Run a server with sample data, a sample target and an SSH server of its own",
		Long: `Runs a server with sample data, a sample target and an SSH server of its own, and
prints what to try on it. Nothing needs to be installed; Ctrl-C removes it all.`,
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return p.demo(cmd.Context(), p.stdout, telemetry.NewLogger(p.stderr, false, slog.LevelWarn))
		},
	}
}

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print which build this is",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(p.stdout, "adit", telemetry.ReadBuild())
			return err
		},
	}
}

// knownCommand is reached only with arguments that name no command.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return unknownCommand(cmd, args[0])
}

func unknownCommand(parent *cobra.Command, name string) error {
	problem := fmt.Sprintf("unknown command %q", name)
	parent.SuggestionsMinimumDistance = 2
	if similar := parent.SuggestionsFor(name); len(similar) > 0 {
		problem += fmt.Sprintf(", did you mean %q?", similar[0])
	}
	return &usageError{command: parent.CommandPath(), problems: []string{problem}}
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	problem := fmt.Sprintf("%q takes flags only, and %q is none", cmd.CommandPath(), args[0])
	return &usageError{command: cmd.CommandPath(), problems: []string{problem}}
}

// flagError is called for flags that are unknown or lack their value. Of an
// unknown command the flags are unknown too, and the command is the news.
func flagError(cmd *cobra.Command, err error) error {
	if args := cmd.Flags().Args(); cmd.HasSubCommands() && len(args) > 0 {
		return knownCommand(cmd, args)
	}
	// Of letters run together the library repeats all that follow, and those may
	// be a value: a token, say.
	if letters, ok := errors.AsType[interface {
		error
		GetSpecifiedShortnames() string
		GetSpecifiedName() string
	}](err); ok && len(letters.GetSpecifiedShortnames()) > len(letters.GetSpecifiedName()) {
		err = fmt.Errorf("unknown flag: -%s", letters.GetSpecifiedName())
	}
	return asUsageError(cmd, err)
}
