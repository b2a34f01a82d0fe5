package telemetry

import (
	"runtime"
	"runtime/debug"
)

// version is set by the linker in builds that know theirs:
//
//	-ldflags "-X github.com/adit-tunnel/adit/internal/telemetry.version=v1.2.3"
var version string

// Build says which build of the program runs.
type Build struct {
	Version string // "v1.2.3", or "dev" where nothing says more
	Commit  string // abbreviated, with "+" when files were changed; empty when unknown
	Go      string // "go1.26.0"
	System  string // "linux/amd64"
}

// ReadBuild reads it from the linker's variable and from what the go command
// put into the binary: the module's version for `go install …@version`, the
// commit for a build inside a checkout.
func ReadBuild() Build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return buildFrom(version, info)
}

func buildFrom(linked string, info *debug.BuildInfo) Build {
	b := Build{Version: linked, Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH}
	if b.Version == "" {
		b.Version = info.Main.Version
	}
	if b.Version == "" || b.Version == "(devel)" {
		b.Version = "dev"
	}
	var modified bool
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value[:min(12, len(s.Value))]
		case "vcs.modified":
			modified = s.Value == "true"
		}
	}
	if modified && b.Commit != "" {
		b.Commit += "+"
	}
	return b
}

// String is one line for people: "dev (4f2a91c0d3be, go1.26.0, linux/amd64)".
func (b Build) String() string {
	rest := b.Go + ", " + b.System + ")"
	if b.Commit != "" {
		rest = b.Commit + ", " + rest
	}
	return b.Version + " (" + rest
}
