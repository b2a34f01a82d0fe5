// Command adit is a self-hosted tunnel server.
package main

import (
	"os"

	"github.com/adit-tunnel/adit/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
