package cli

import (
	"github.com/spf13/cobra"

	"github.com/adit-tunnel/adit/internal/config"
)

// flagTexts collects what flags were given, as texts: package config parses
// them like the texts of its other sources and names the flag in what it finds.
type flagTexts struct{ given map[string][]string }

// declare gives cmd a flag for each setting, and for each secret's file.
func (f *flagTexts) declare(cmd *cobra.Command, settings []config.Setting) {
	f.given = make(map[string][]string)
	cmd.Flags().SortFlags = false
	for _, s := range settings {
		flag := cmd.Flags().VarPF(&flagValue{f, s.Name, s.Value, s.Default}, s.Name, s.Short, s.Usage)
		if s.Bool {
			flag.NoOptDefVal = "true"
		}
		if s.Secret {
			cmd.Flags().Var(&flagValue{f, s.Twin(), "FILE", ""}, s.Twin(), "file that holds the value of --"+s.Name)
		}
	}
}

// flagValue is one flag's pflag.Value. Set never fails, so that no library
// prints a value, which may be a secret.
type flagValue struct {
	flags       *flagTexts
	name        string
	placeholder string
	fallback    string
}

func (v *flagValue) Set(text string) error {
	v.flags.given[v.name] = append(v.flags.given[v.name], text)
	return nil
}

// String is the default: help asks before anything is set.
func (v *flagValue) String() string { return v.fallback }

// Type is what help shows in the value's place, or "bool" for nothing.
func (v *flagValue) Type() string {
	if v.placeholder == "" {
		return "bool"
	}
	return v.placeholder
}
