package wire

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// End is one end of a wire: a namespace of its own, whose only way out the wire
// is. Its loopback is up.
type End struct {
	// Addr is its address on the wire. Every wire has the same two: nothing
	// else can reach them.
	Addr netip.Addr

	space *os.File // the namespace
	tun   *os.File // nil until the device is there
}

const (
	device     = "wire0"
	tunDevice  = "/dev/net/tun"
	ownSpace   = "/proc/thread-self/ns/net"
	queueSize  = 10000 // of the device, so that a burst waits for us instead of being dropped
	subnetMask = "255.255.255.252"
)

// openEnd makes a namespace with a device in it.
func openEnd(addr netip.Addr) (*End, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: it takes root to make a network namespace", ErrUnavailable)
	}
	if _, err := os.Stat(tunDevice); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	e := &End{Addr: addr}
	made := make(chan error, 1)
	go func() {
		// The thread is in the new namespace for good. It is not unlocked, so
		// that it ends with this goroutine and nothing else runs on it.
		runtime.LockOSThread()
		made <- e.make()
	}()
	if err := <-made; err != nil {
		e.close()
		return nil, err
	}
	return e, nil
}

// make takes the thread that it runs on into a new namespace.
func (e *End) make() error {
	if err := unix.Unshare(unix.CLONE_NEWNET); errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: a network namespace: %w", ErrUnavailable, err)
	} else if err != nil {
		return fmt.Errorf("make a network namespace: %w", err)
	}
	var err error
	if e.space, err = os.Open(ownSpace); err != nil {
		return err
	}
	if e.tun, err = openTUN(); err != nil {
		return err
	}
	return configure(e.Addr)
}

// openTUN makes the device in the namespace of this thread. It is gone when the file is closed.
func openTUN() (*os.File, error) {
	fd, err := unix.Open(tunDevice, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("%w: open %s: %w", ErrUnavailable, tunDevice, err)
	}
	request, err := unix.NewIfreq(device)
	if err == nil {
		request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("make the device %s: %w", device, err)
	}
	return os.NewFile(uintptr(fd), device), nil
}

// configure gives the device its address, and sets it and the loopback up.
func configure(addr netip.Addr) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	mask := netip.MustParseAddr(subnetMask).As4()
	own := addr.As4()
	inet := func(a [4]byte) func(*unix.Ifreq) error {
		return func(r *unix.Ifreq) error { return r.SetInet4Addr(a[:]) }
	}
	up := func(r *unix.Ifreq) error { r.SetUint16(unix.IFF_UP); return nil }
	for _, set := range []struct {
		device, what string
		request      uint
		fill         func(*unix.Ifreq) error
	}{
		{"lo", "up", unix.SIOCSIFFLAGS, up},
		{device, "address", unix.SIOCSIFADDR, inet(own)},
		{device, "netmask", unix.SIOCSIFNETMASK, inet(mask)},
		{device, "MTU", unix.SIOCSIFMTU, func(r *unix.Ifreq) error { r.SetUint32(mtu); return nil }},
		{device, "queue", unix.SIOCSIFTXQLEN, func(r *unix.Ifreq) error { r.SetUint32(queueSize); return nil }},
		{device, "up", unix.SIOCSIFFLAGS, up},
	} {
		request, err := unix.NewIfreq(set.device)
		if err == nil {
			err = set.fill(request)
		}
		if err == nil {
			err = unix.IoctlIfreq(fd, set.request, request)
		}
		if err != nil {
			return fmt.Errorf("set the %s of %s: %w", set.what, set.device, err)
		}
	}
	return nil
}

// Do runs f in the namespace: sockets that it opens, and processes that it
// starts, are there, and stay there. It runs on the caller's thread (see
// [runtime.LockOSThread]); goroutines that f starts are elsewhere.
func (e *End) Do(f func() error) (err error) {
	runtime.LockOSThread()
	before, err := os.Open(ownSpace)
	if err == nil {
		defer before.Close()
		err = enter(e.space)
	}
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter the namespace of %v: %w", e.Addr, err)
	}
	defer func() {
		if back := enter(before); back != nil {
			// What runs on this thread next would be in the wrong place.
			panic(fmt.Sprintf("leave the namespace of %v: %v", e.Addr, back))
		}
		runtime.UnlockOSThread()
	}()
	return f()
}

func enter(space *os.File) error { return unix.Setns(int(space.Fd()), unix.CLONE_NEWNET) }

// Path names the namespace for programs that enter one, like nsenter --net,
// while the wire lasts.
func (e *End) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), e.space.Fd()) }

func (e *End) close() {
	for _, f := range []*os.File{e.tun, e.space} {
		if f != nil {
			f.Close()
		}
	}
}
