package cli

import (
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/adit-tunnel/adit/internal/config"
	"github.com/adit-tunnel/adit/internal/telemetry"
)

const relayLong = `Runs a relay: peers connect to it by WebSocket and use each other's networks by
SOCKS5. The flags and variables are those of linksocks, and its peers and servers
are understood.

Clients use the network of the relay. Providers lend theirs, by a SOCKS port of
the relay or to connectors, who use it.`

const relayServeLong = `Runs a relay alone, without the control API.

It has one token, which is shown on standard error if none was given, or with
--api-key the tokens that the HTTP API adds. "adit ready relay=…" on standard
output says that it accepts peers; the log goes to standard error. SIGTERM and
SIGINT end it once open streams have ended, after --drain at the latest; a second
signal ends it at once.

` + sourcesLong + stockLong

const peerLong = `

It stays connected, and connects again whenever the connection is lost. The log
goes to standard error. SIGTERM and SIGINT end it.

Each flag can be given as an environment variable too, ADIT_ and its name in
capitals (--socks-port is ADIT_SOCKS_PORT; a list is separated by commas). A flag
is stronger than a variable.` + stockLong

const stockLong = `
Where an ADIT_ variable is unset, the LINKSOCKS_ one counts, if linksocks has it.`

func (p *program) relayCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "relay",
		Short: "Run a SOCKS5-over-WebSocket relay, or a peer of one",
		Long:  relayLong,
		Args:  knownCommand,
		RunE:  p.helpInstead,
	}
	cmd.AddCommand(
		p.relayServeCommand(),
		p.peerCommand(config.RoleClient, "Use a relay's network by a SOCKS port on this host",
			"Opens a SOCKS port on this host that leads to the network of a relay."),
		p.peerCommand(config.RoleProvider, "Lend this host's network to a relay",
			"Lends this host's network to a relay: to the users of the token's SOCKS port there,\nand to its connectors."),
		p.peerCommand(config.RoleConnector, "Use a provider's network by a SOCKS port on this host",
			"Opens a SOCKS port on this host that leads to the networks of a relay's providers."),
	)
	return cmd
}

func (p *program) relayServeCommand() *cobra.Command {
	var flags flagTexts
	cmd := &cobra.Command{
		Use:   "serve [flags]",
		Short: "Run a relay alone",
		Long:  relayServeLong,
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.LoadRelayServe(config.Input{Flags: flags.given, Env: p.env})
			if err != nil {
				return asUsageError(cmd, err)
			}
			p.logNotes(cfg.Notes, cfg.LogFormat, cfg.LogLevel)
			return p.relayServe(cmd.Context(), cfg, p.stdout, p.stderr)
		},
	}
	flags.declare(cmd, config.RelayServeSettings())
	return cmd
}

func (p *program) peerCommand(role config.Role, short, long string) *cobra.Command {
	var flags flagTexts
	cmd := &cobra.Command{
		Use:   string(role) + " [flags]",
		Short: short,
		Long:  long + peerLong,
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.LoadPeer(role, config.Input{Flags: flags.given, Env: p.env})
			if err != nil {
				return asUsageError(cmd, err)
			}
			p.logNotes(cfg.Notes, cfg.LogFormat, cfg.LogLevel)
			return p.peer(cmd.Context(), cfg, p.stdout, p.stderr)
		},
	}
	flags.declare(cmd, config.PeerSettings())
	return cmd
}

// logNotes warns of what was given without effect.
func (p *program) logNotes(notes []string, format string, level slog.Level) {
	log := telemetry.NewLogger(p.stderr, format == config.FormatJSON, level)
	for _, note := range notes {
		log.Warn(note)
	}
}
