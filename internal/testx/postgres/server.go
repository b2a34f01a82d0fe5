package postgres

import (
	"bufio"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// The roles of a server.
const (
	superuser = "postgres"
	owner     = "adit" // of the databases that tests get
)

// account is the user that runs the server in tests of root, for whom it
// refuses to run.
const account = "postgres"

// Server is a PostgreSQL server.
type Server struct {
	dir string // holds the data, the socket and the log

	mu      sync.Mutex // guards below
	made    int        // databases
	process *exec.Cmd  // the keeper; nil while stopped
	stdin   io.WriteCloser
}

// Start runs a server of the test's own until the test ends.
func Start(t testing.TB) *Server {
	t.Helper()
	demand(t)
	s, err := start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.end(""); err != nil {
			t.Error(err)
		}
		_ = os.RemoveAll(s.dir) // when it was stopped
	})
	return s
}

// Stop ends the server, as an operator's restart begins. Who is connected is
// told that it shuts down.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	if err := s.end("keep\n"); err != nil {
		t.Fatal(err)
	}
}

// Resume runs a stopped server again, with all that it had.
func (s *Server) Resume(t testing.TB) {
	t.Helper()
	if err := s.run(); err != nil {
		t.Fatal(err)
	}
}

// start makes and runs a server.
func start() (*Server, error) {
	dir, err := os.MkdirTemp("", "adit-postgres-*")
	if err != nil {
		return nil, err
	}
	who, err := credential()
	if err == nil && who != nil {
		err = os.Chown(dir, int(who.Uid), int(who.Gid))
	}
	s := &Server{dir: dir}
	if err == nil {
		err = s.run()
	}
	if err == nil {
		err = s.administer("CREATE ROLE " + owner + " LOGIN")
	}
	if err != nil {
		_ = s.end("")
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	return s, nil
}

// keeper makes a server when there is none, runs it and says so. It ends the
// server when its own standard input does, which is when the test process is
// gone, and unless it was told to keep them removes all files.
//
//go:embed keeper.sh
var keeper string

// run returns when the server answers.
func (s *Server) run() error {
	bin, err := programs()
	if err != nil {
		return err
	}
	who, err := credential()
	if err != nil {
		return err
	}
	cmd := exec.Command("/bin/sh", "-c", keeper, "keeper", bin, s.dir)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C"}
	// Ctrl-C is for the tests: with a session of its own the keeper outlives them
	// and cleans up.
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: who, Setsid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.mu.Lock()
	s.process, s.stdin = cmd, stdin
	s.mu.Unlock()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
		return fmt.Errorf("%q, %w; its log:\n%s", line, err, log)
	}
	return nil
}

// end has the keeper end the server, and waits for it.
func (s *Server) end(word string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return nil
	}
	_, werr := io.WriteString(s.stdin, word)
	cerr := s.stdin.Close()
	err := s.process.Wait()
	s.process = nil
	return errors.Join(werr, cerr, err)
}

// credential is the user to run the server as; nil for the user who tests.
func credential() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(account)
	if err != nil {
		return nil, fmt.Errorf("PostgreSQL does not run as root: %w", err)
	}
	uid, uerr := strconv.ParseUint(u.Uid, 10, 32)
	gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(uerr, gerr)
}

// programs gives the directory of the server's programs, of the newest version
// that is there.
func programs() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	if path, err := exec.LookPath("initdb"); err == nil && len(found) == 0 {
		found = []string{path}
	}
	if len(found) == 0 {
		return "", errors.New("PostgreSQL is missing: install the package postgresql")
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return version(a) - version(b) })), nil
}

// version takes the number out of /usr/lib/postgresql/15/bin/initdb.
func version(path string) int {
	n, _ := strconv.Atoi(strings.Split(strings.TrimPrefix(path, "/usr/lib/postgresql/"), "/")[0])
	return n
}
