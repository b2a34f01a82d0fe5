package server_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/adit-tunnel/adit/"

// The planes. A name stands for its subpackages too.
var (
	dataPlane = []string{
		"internal/forward", "internal/link", "internal/lobby", "internal/peer", "internal/pipe", "internal/policy", "internal/proxy",
		"internal/relay",
		"internal/site", "internal/socks5", "internal/sshserver", "internal/sshsite",
	}
	controlPlane = []string{
		"internal/access", "internal/app", "internal/archive", "internal/audit", "internal/auth", "internal/cli", "internal/config", "internal/demo",
		"internal/httpapi", "internal/secret", "internal/server", "internal/store", "internal/webui",
	}
	leaves = []string{"api", "internal/redact", "internal/socket"}
	// Neither plane, and not in the product unless something imports them.
	aside = []string{"bench", "client", "cmd", "internal/clientaddr", "internal/telemetry", "internal/testx", "test", "tunnel"}
)

// arrows are the dependencies that must not be.
var arrows = []struct {
	why       string
	from, not []string
}{
	{"the data plane runs without the control plane", dataPlane, controlPlane},
	{"what carries bytes does not know what it carries them for",
		[]string{"internal/lobby", "internal/pipe", "internal/policy", "internal/proxy", "internal/site", "internal/socks5", "internal/sshserver", "internal/sshsite", "internal/link"},
		[]string{"internal/forward", "internal/relay", "internal/peer"}},
	{"use cases stand on these, not these on use cases",
		[]string{"internal/access", "internal/audit", "internal/auth", "internal/secret", "internal/store"},
		[]string{"internal/app", "internal/httpapi", "internal/webui", "internal/config", "internal/server", "internal/demo", "internal/cli"}},
	{"use cases know no HTTP and no process",
		[]string{"internal/app"},
		[]string{"internal/httpapi", "internal/webui", "internal/config", "internal/server", "internal/demo", "internal/cli"}},
	{"auth knows no HTTP", []string{"internal/auth"}, []string{"net/http"}},
	{"routes do not know who serves them",
		[]string{"internal/httpapi", "internal/webui"},
		[]string{"internal/config", "internal/server", "internal/demo", "internal/cli"}},
	{"configuration is read before anything is built",
		[]string{"internal/config"},
		[]string{"internal/access", "internal/app", "internal/auth", "internal/httpapi", "internal/secret", "internal/server", "internal/store", "internal/cli"}},
	{"the server does not know who starts it", []string{"internal/server"}, []string{"internal/cli", "internal/demo"}},
	{"telemetry knows nothing of what it reports on", []string{"internal/telemetry"}, slices.Concat(dataPlane, controlPlane)},
	{"the product holds no test code", slices.Concat(dataPlane, controlPlane, leaves, []string{"cmd"}), []string{"internal/testx", "testing"}},
}

func TestArrowsPointDown(t *testing.T) {
	t.Parallel()
	packages := dependencies(t)
	for _, arrow := range arrows {
		for name, deps := range packages {
			if !within(name, arrow.from) || name == "internal/store/storetest" {
				continue
			}
			for _, dep := range deps {
				if within(dep, arrow.not) {
					t.Errorf("%s depends on %s: %s", name, dep, arrow.why)
				}
			}
		}
	}
}

func TestLeavesDependOnTheStandardLibraryOnly(t *testing.T) {
	t.Parallel()
	packages := dependencies(t)
	for _, leaf := range leaves {
		deps, ok := packages[leaf]
		if !ok {
			t.Errorf("there is no package %s", leaf)
		}
		for _, dep := range deps {
			first, _, _ := strings.Cut(dep, "/")
			if _, own := packages[dep]; own || strings.Contains(first, ".") {
				t.Errorf("%s depends on %s", leaf, dep)
			}
		}
	}
}

// A package that no list above has would pass unseen.
func TestEveryPackageHasItsPlane(t *testing.T) {
	t.Parallel()
	for name := range dependencies(t) {
		if !within(name, slices.Concat(dataPlane, controlPlane, leaves, aside)) {
			t.Errorf("%s stands in none of the lists of this test: which plane is it in?", name)
		}
	}
}

// The list is a table, one row a module, its path in code marks.
func TestEveryDirectDependencyIsArguedFor(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json", "../../go.mod").Output()
	if err != nil {
		t.Fatal(err)
	}
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile("../../docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, r := range mod.Require {
		if r.Indirect {
			continue
		}
		rows++
		if !strings.Contains(string(list), "\n| `"+r.Path+"` | ") {
			t.Errorf("docs/dependencies.md has no row for %s", r.Path)
		}
	}
	if got := strings.Count(string(list), "\n| `"); got != rows {
		t.Errorf("docs/dependencies.md has %d rows, go.mod %d direct dependencies", got, rows)
	}
}

// dependencies has the module's packages, without the module's path, and what
// each depends on, directly or not, in builds without tests.
func dependencies(t *testing.T) map[string][]string {
	t.Helper()
	list := exec.CommandContext(t.Context(), "go", "list", "-f", `{{.ImportPath}} {{join .Deps " "}}`, module+"...")
	var problems strings.Builder
	list.Stderr = &problems
	out, err := list.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", list, err, &problems)
	}
	packages := make(map[string][]string)
	for line := range strings.Lines(strings.ReplaceAll(string(out), module, "")) {
		fields := strings.Fields(line)
		packages[fields[0]] = fields[1:]
	}
	return packages
}

// within reports whether a package is one of the names, or below one.
func within(name string, names []string) bool {
	return slices.ContainsFunc(names, func(parent string) bool {
		return name == parent || strings.HasPrefix(name, parent+"/")
	})
}
