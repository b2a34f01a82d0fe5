package sshserver_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/internal/sshserver"
	"github.com/adit-tunnel/adit/internal/testx/sshd"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

// openSSH is a server, and the command line of an OpenSSH client that logs in to it.
func openSSH(t *testing.T, args ...string) (*running, *exec.Cmd) {
	t.Helper()
	path, err := exec.LookPath("ssh")
	if err != nil {
		t.Fatal("ssh is missing: install the package openssh-client")
	}
	key := sshd.NewKey(t, sshd.Ed25519)
	signer, err := ssh.NewSignerFromKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(err)
	}
	server := start(t, func(c *sshserver.Config) { c.AuthorizedKeys = []ssh.PublicKey{signer.PublicKey()} })
	_, port, err := net.SplitHostPort(server.addr)
	if err != nil {
		t.Fatal(err)
	}
	args = append([]string{
		"-F", "none", "-i", file, "-p", port, "-l", "miner", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "ExitOnForwardFailure=yes",
	}, append(args, "127.0.0.1")...)
	return server, exec.CommandContext(t.Context(), path, args...)
}

func TestTheOpenSSHClientReachesATarget(t *testing.T) {
	t.Parallel()
	_, cmd := openSSH(t, "-W", target.Start(t))
	const size = 1 << 20
	hash := sha256.New()
	sent := io.TeeReader(io.LimitReader(target.Stream(), size), hash)
	cmd.Stdin = io.MultiReader(bytes.NewReader([]byte{'H'}), sent)
	var said bytes.Buffer
	cmd.Stderr = &said
	answer, err := cmd.Output()
	if err != nil || !bytes.Equal(answer, hash.Sum(nil)) {
		t.Errorf("after our end the target answers %x, %v\n%s", answer, err, &said)
	}
}

func TestTheOpenSSHClientForwardsFromTheServer(t *testing.T) {
	t.Parallel()
	port := sshd.FreePort(t)
	server, cmd := openSSH(t, "-N", "-R", fmt.Sprintf("%d:%s", port, target.Start(t)))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	server.wait("forward listens", func(c sshserver.Counts) bool { return c.CurrentForwards == 1 })
	if err := target.HalfClose(dialTCP(t, fmt.Sprintf("127.0.0.1:%d", port)), 1<<20); err != nil {
		t.Error(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait()
	server.wait("forward gone", func(c sshserver.Counts) bool { return c.Current == 0 && c.CurrentForwards == 0 })
}
