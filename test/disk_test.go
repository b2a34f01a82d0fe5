package test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/adit-tunnel/adit/internal/testx/postgres"
	"github.com/adit-tunnel/adit/internal/testx/target"
)

// A full disk without a disk, and without a privilege: the server runs under a
// system call filter (seccomp(2)) that answers every write beyond an offset
// into a file as a full file system would, with "no space left on device".
// SQLite writes with pwrite64 and with nothing else, the log on standard error
// and sockets are not files with offsets, and so go on.

// diskVariable makes the test binary run its arguments as a program for whose
// files there is only so much space, in bytes each.
const diskVariable = "ADIT_TEST_DISK"

// diskSize is some hundred rows above what an empty database's log takes.
const diskSize = 512 << 10

// runWithSmallDisk turns this process into the program args[0]. It returns only
// with an error.
func runWithSmallDisk(args []string) error {
	size, err := strconv.ParseUint(os.Getenv(diskVariable), 10, 31)
	if err != nil {
		return err
	}
	runtime.LockOSThread() // whose filter the new program takes over
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("give up new privileges: %w", err)
	}
	filter := diskFilter(uint32(size))
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
	runtime.KeepAlive(filter)
	if err != nil {
		return fmt.Errorf("filter system calls: %w", err)
	}
	return syscall.Exec(args[0], args, os.Environ())
}

// diskFilter looks at struct seccomp_data: the number of the call is at 0, the
// lower half of pwrite64's fourth argument, the offset, at 40 (where the lower
// half comes first, which is everywhere that the tests run).
func diskFilter(size uint32) []unix.SockFilter {
	const load, jumpEqual, jumpAtLeast, answer = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS,
		unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	return []unix.SockFilter{
		{Code: load, K: 0},
		{Code: jumpEqual, K: unix.SYS_PWRITE64, Jf: 3},
		{Code: load, K: 40},
		{Code: jumpAtLeast, K: size, Jf: 1},
		{Code: answer, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSPC)},
		{Code: answer, K: unix.SECCOMP_RET_ALLOW},
	}
}

// serveOnSmallDisk is serve with diskSize bytes for each file.
func serveOnSmallDisk(t testing.TB, data string) *adit {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, append([]string{program}, serveArgs(data)...)...)
	cmd.Env = []string{diskVariable + "=" + strconv.Itoa(diskSize)}
	return serveCommand(t, data, cmd)
}

func TestAFullDiskRefusesWritesAndServesOn(t *testing.T) {
	t.Parallel()
	postgres.SkipIfWanted(t)
	g := newGround(t)
	ways := g.ways()
	g.stop()
	full := serveOnSmallDisk(t, g.data)
	full.token = g.token
	g.adit = full
	for _, w := range ways {
		g.reaches(w.path, "active", restoreLimit)
	}
	open := ways[0].open(t)
	if err := target.Echo(open, 1); err != nil {
		t.Fatal(err)
	}

	rows := g.fill()
	g.call("PATCH", ways[0].path, object{"name": "renamed"}).fails(507, "storage_full")
	g.has(g.get(ways[0].path).is(200), object{"name": ways[0].row["name"], "state": "active"})
	if n := len(g.get("/port-forwards").list()); n != rows {
		t.Errorf("%d rows are listed of %d", n, rows)
	}
	if err := errors.Join(target.EchoMore(open, small), open.Close()); err != nil {
		t.Errorf("a connection that was open: %v", err)
	}
	for _, w := range ways {
		w.carries(t, small)
	}

	g.restarted(g.stop) // with space again
	if n := len(g.get("/port-forwards").list()); n != rows {
		t.Errorf("%d rows are listed of %d", n, rows)
	}
	g.has(g.call("PATCH", ways[0].path, object{"name": "renamed"}).is(200), object{"name": "renamed"})
}

// fill adds forwards until there is no space for one more, and gives the number
// of those that are there.
func (g *ground) fill() (rows int) {
	g.t.Helper()
	rows = len(g.get("/port-forwards").list())
	for range 1000 {
		a := g.post("/port-forwards", g.local(g.target))
		if a.status != 201 {
			a.fails(507, "storage_full")
			return rows
		}
		rows++
	}
	g.t.Fatal("the disk does not become full")
	return rows
}
