package sshd

import (
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// find gives the path of sshd. It must be absolute: sshd starts itself again
// for each connection.
func find(t testing.TB) string {
	t.Helper()
	for _, name := range []string{"sshd", "/usr/sbin/sshd", "/usr/local/sbin/sshd"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatal("sshd is missing: install the package openssh-server")
	return ""
}

// writeConfig writes sshd_config and authorized_keys.
func (s *Server) writeConfig() {
	s.t.Helper()
	lines := append([]string(nil), s.extra...)
	lines = append(lines,
		"ListenAddress 127.0.0.1",
		"Port "+strconv.Itoa(s.Port),
		"AuthorizedKeysFile "+s.file("authorized_keys"),
		"StrictModes no", // the directory is not the user's home
		"UsePAM no",
		"PidFile none",
		"UseDNS no",
		"LogLevel VERBOSE",
		"PubkeyAuthentication yes",
		"PasswordAuthentication no",
		"KbdInteractiveAuthentication no",
		"PermitRootLogin yes",
		"AllowTcpForwarding yes",
		"X11Forwarding no",
		"MaxStartups 1000",
		"MaxSessions 1000",
		"MaxAuthTries 20",
		"LoginGraceTime 20",
	)
	for _, kind := range s.hostTypes {
		lines = append(lines, "HostKey "+s.file(hostKeyFile(kind)))
	}
	if hasPenalties(s.path) {
		// Tests drop and fail logins on purpose, all from one address.
		lines = append(lines, "PerSourcePenalties no")
	}
	s.write("sshd_config", []byte(strings.Join(lines, "\n")+"\n"))
	s.makeRunDir()
}

var version = regexp.MustCompile(`OpenSSH_(\d+)\.(\d+)`)

// hasPenalties reports whether sshd knows PerSourcePenalties, which came with
// 9.8; older ones would refuse the whole file for it.
func hasPenalties(path string) bool {
	said := versionOf(path)
	match := version.FindStringSubmatch(said)
	if match == nil {
		return false
	}
	major, _ := strconv.Atoi(match[1])
	minor, _ := strconv.Atoi(match[2])
	return major > 9 || (major == 9 && minor >= 8)
}

var versions sync.Map // path to what sshd says of its version

func versionOf(path string) string {
	if said, ok := versions.Load(path); ok {
		return said.(string)
	}
	out, _ := exec.Command(path, "-V").CombinedOutput() // old ones fail, and print it as well
	versions.Store(path, string(out))
	return string(out)
}

// makeRunDir makes the directory that sshd locks its unprivileged part into
// when it runs as root. Packages leave that to their service.
func (s *Server) makeRunDir() {
	s.t.Helper()
	if os.Geteuid() != 0 {
		return
	}
	if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
		s.t.Fatal(err)
	}
}

// Log gives what sshd has logged so far.
func (s *Server) Log() string {
	s.t.Helper()
	text, err := os.ReadFile(s.file("log"))
	if err != nil && !os.IsNotExist(err) {
		s.t.Error(err)
	}
	return string(text)
}

func (s *Server) write(name string, content []byte) {
	s.t.Helper()
	if err := os.WriteFile(s.file(name), content, 0o600); err != nil {
		s.t.Fatal(err)
	}
}
