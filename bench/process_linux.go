package main

import "syscall"

// attributes puts a process into a group of its own, so that Ctrl-C reaches us
// alone and we end it in order, and lets the kernel kill it should we be killed.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// raiseLimits lets this process and those that it starts open as many files as
// they may: a thousand connections are more than the usual soft limit.
func raiseLimits() {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return
	}
	limit.Cur = limit.Max
	_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) // what then does not fit shows as an error of the test
}
