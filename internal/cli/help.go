package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// helpWidth is the longest line of help, in columns.
const helpWidth = 100

// usage prints how a command is called: what stands below its description in
// its help.
func usage(cmd *cobra.Command) error {
	var b strings.Builder
	if cmd.HasSubCommands() {
		fmt.Fprintf(&b, "Usage:\n  %s <command>\n\nCommands:\n", cmd.CommandPath())
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(&b, "  %-10s %s\n", sub.Name(), sub.Short)
			}
		}
		fmt.Fprintf(&b, "\nFlags:\n%s", cmd.LocalFlags().FlagUsagesWrapped(helpWidth))
		fmt.Fprintf(&b, "\nMore about a command: %s <command> --help\n", cmd.CommandPath())
	} else {
		fmt.Fprintf(&b, "Usage:\n  %s\n\nFlags:\n%s", cmd.UseLine(), cmd.LocalFlags().FlagUsagesWrapped(helpWidth))
	}
	_, err := fmt.Fprint(cmd.OutOrStderr(), b.String())
	return err
}

// helpCommand replaces cobra's own, which ends with 0 when asked about a
// command that does not exist.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [command]",
		Short: "Print help about a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			switch {
			case err == nil && len(rest) > 0 && about.HasSubCommands():
				return unknownCommand(about, strings.Join(rest, " "))
			case err != nil || len(rest) > 0:
				return unknownCommand(cmd.Root(), strings.Join(args, " "))
			}
			about.InitDefaultHelpFlag() // or --help would not be in its list
			about.InitDefaultVersionFlag()
			return about.Help()
		},
	}
}
