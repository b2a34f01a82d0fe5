package main

import (
	"os"
	"os/exec"
	"slices"
	"testing"
)

func TestDescendantsAreFoundByTheirParents(t *testing.T) {
	t.Parallel()
	child := exec.Command("cat") // ends with its input
	input, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(descendants(os.Getpid()), child.Process.Pid) {
		t.Error("a child is not among the descendants")
	}
	input.Close()
	if err := child.Wait(); err != nil {
		t.Fatal(err)
	}
	if slices.Contains(descendants(os.Getpid()), child.Process.Pid) {
		t.Error("a child that has ended is among the descendants")
	}
}
