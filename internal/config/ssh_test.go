package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/adit-tunnel/adit/internal/sshsite"
)

const hostCA = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOA49QgDyh4ymjEsvE3HpDlNtqf6D/a739AnefLxEXF+\n"

func authorities(t *testing.T) *sshsite.HostCAs {
	t.Helper()
	c, err := sshsite.ParseHostCAs([]byte(hostCA))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAHostCAFileThatCannotBeUsedIsToldBeforeAnythingStarts(t *testing.T) {
	t.Parallel()
	empty := write(t, "empty", "# none yet\n")
	wantProblems(t, input(map[string][]string{"host-ca": {empty}}, nil), "flag --host-ca: read "+empty+": holds no public key")
	private := write(t, "private", hostCA+"-----BEGIN OPENSSH PRIVATE KEY-----\n")
	wantProblems(t, input(nil, map[string]string{"ADIT_HOST_CA": private}),
		"variable ADIT_HOST_CA: read "+private+": line 2: is no public key: write the line of the authority's .pub file")
	missing := filepath.Join(t.TempDir(), "missing")
	wantProblems(t, input(map[string][]string{"host-ca": {missing}}, nil), "flag --host-ca: read "+missing+": no such file or directory")
}

func TestAKeyDirectoryMustBeThere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	wantProblems(t, input(map[string][]string{"key-dir": {dir + "/none"}}, nil), "flag --key-dir: read "+dir+"/none: no such file or directory")
	file := write(t, "file", "")
	wantProblems(t, input(map[string][]string{"key-dir": {file}}, nil), "flag --key-dir: "+file+" is not a directory")
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Load(input(map[string][]string{"key-dir": {"../config"}}, nil)); err != nil || got.KeyDir != here {
		t.Errorf("a relative directory: %s, %v", got.KeyDir, err)
	}
}
