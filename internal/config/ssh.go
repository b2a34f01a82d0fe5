package config

import (
	"fmt"
	"os"

	"github.com/adit-tunnel/adit/internal/sshsite"
)

// maxHostCAFile bounds --host-ca, in bytes.
const maxHostCAFile = 1 << 20

// parseHostCA reads the authorities from the file now, so that a file that is
// wrong is told before anything starts.
func parseHostCA(text string) (*sshsite.HostCAs, error) {
	content, err := readBounded(text, maxHostCAFile)
	if err != nil {
		return nil, err
	}
	authorities, err := sshsite.ParseHostCAs(content)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", text, err)
	}
	return authorities, nil
}

// parseKeyDir takes a directory that is there: a forward's key that is not read
// for a slip in this path would be told as the forward's fault.
func parseKeyDir(text string) (string, error) {
	path, err := parsePath(text)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", fileError(path, err)
	case !info.IsDir():
		return "", fmt.Errorf("%s is not a directory", path)
	}
	return path, nil
}
