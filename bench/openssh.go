package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"

	"golang.org/x/crypto/ssh"
)

// sshServer is an sshd of our own, and what a client needs to log in.
type sshServer struct {
	process *process
	port    int
	user    string
	keyPEM  []byte // the private key that may log in
	keyFile string // the same
	known   string // a known_hosts file with its host key
}

func (s *sshServer) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// startSSHD runs sshd on loopback, for the current user and a key of its own.
func startSSHD(ctx context.Context, st *stage) (*sshServer, error) {
	dir := st.dir
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	s := &sshServer{port: port, keyFile: filepath.Join(dir, "client_key"), known: filepath.Join(dir, "known_hosts")}
	hostKey, authorized := filepath.Join(dir, "host_key"), filepath.Join(dir, "authorized_keys")
	if err := s.makeKeys(hostKey, authorized); err != nil {
		return nil, err
	}
	if os.Geteuid() == 0 {
		// sshd locks its unprivileged part in here when it runs as root.
		// Packages leave making it to their service.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			return nil, err
		}
	}
	args := []string{"-D", "-e", "-f", "/dev/null", "-h", hostKey, "-o", "ListenAddress=" + s.addr(), "-o", "AuthorizedKeysFile=" + authorized}
	for _, option := range sshdOptions {
		args = append(args, "-o", option)
	}
	if s.process, err = st.start("sshd", st.tools.sshd, args...); err != nil {
		return nil, err
	}
	return s, s.process.poll(ctx, func(ctx context.Context) error { return greeted(ctx, s.addr()) })
}

// makeKeys makes what both sides prove themselves with, and fills in who may log in.
func (s *sshServer) makeKeys(hostKey, authorized string) error {
	me, err := user.Current()
	if err != nil {
		return err
	}
	s.user = me.Username
	client, err := newKey(s.keyFile)
	if err != nil {
		return err
	}
	if s.keyPEM, err = os.ReadFile(s.keyFile); err != nil {
		return err
	}
	host, err := newKey(hostKey)
	if err != nil {
		return err
	}
	if err := os.WriteFile(authorized, client, 0o600); err != nil {
		return err
	}
	return os.WriteFile(s.known, fmt.Appendf(nil, "[127.0.0.1]:%d %s", s.port, host), 0o600)
}

// sshdOptions keep everything that is no part of the measurement out of it.
var sshdOptions = []string{
	"StrictModes=no", // the keys are not in the user's home
	"UsePAM=no",
	"UseDNS=no",
	"PidFile=none",
	"PermitRootLogin=prohibit-password",
	"PasswordAuthentication=no",
	"KbdInteractiveAuthentication=no",
	"AllowTcpForwarding=yes",
	"MaxStartups=1000",
	"MaxSessions=10000",
	"LogLevel=INFO",
}

// newKey writes an Ed25519 key to a file and returns its public line.
func newKey(file string) ([]byte, error) {
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(key, "")
	if err != nil {
		return nil, err
	}
	public, err := ssh.NewPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	return ssh.MarshalAuthorizedKey(public), os.WriteFile(file, pem.EncodeToMemory(block), 0o600)
}

// greeted reads the version line of an SSH server.
func greeted(ctx context.Context, address string) error {
	c, err := dial(ctx, address)
	if err != nil {
		return err
	}
	defer c.Close()
	version := make([]byte, len("SSH-2.0-"))
	if _, err := c.Read(version); err != nil {
		return err
	}
	if string(version) != "SSH-2.0-" {
		return fmt.Errorf("%s is no SSH server", address)
	}
	return nil
}

// sshArgs are for an ssh that reads no configuration and asks nobody anything.
func (f *forwardStage) sshArgs(args ...string) []string {
	all := []string{"-F", "none", "-T", "-p", strconv.Itoa(f.sshd.port), "-i", f.sshd.keyFile,
		"-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "BatchMode=yes",
		"-o", "UserKnownHostsFile=" + f.sshd.known, "-o", "GlobalKnownHostsFile=/dev/null", "-o", "StrictHostKeyChecking=yes",
		"-o", "ControlMaster=no", "-o", "ControlPath=none", "-o", "ExitOnForwardFailure=yes"}
	if f.cipher != "" {
		all = append(all, "-c", f.cipher)
	}
	return append(append(all, args...), f.sshd.user+"@127.0.0.1")
}

// startSSH runs ssh -N -L to the target and returns where it listens.
func (f *forwardStage) startSSH(ctx context.Context, _ []string) ([]*process, string, error) {
	port, err := freePort()
	if err != nil {
		return nil, "", err
	}
	listen := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	p, err := f.start("ssh", f.tools.ssh, f.sshArgs("-N", "-L", listen+":"+f.target)...)
	if err != nil {
		return nil, "", err
	}
	return []*process{p}, viaPort(listen), p.poll(ctx, func(ctx context.Context) error { return echoed(ctx, listen) })
}

var cipherLine = regexp.MustCompile(`kex: server->client cipher: (\S+)`)

// agreedCipher logs in once to learn what ssh and sshd encrypt with.
func (f *forwardStage) agreedCipher(ctx context.Context) (string, error) {
	// -W is a stream to the target, which ends with our empty input.
	out, err := output(ctx, readyTimeout, f.tools.ssh, f.sshArgs("-v", "-W", f.target)...)
	if err != nil {
		return "", err
	}
	match := cipherLine.FindSubmatch(out)
	if match == nil {
		return "", errors.New("ssh -v does not name its cipher")
	}
	return string(match[1]), nil
}
