package lobby

import "testing"

func TestWhoWaitedLongestMakesRoom(t *testing.T) {
	t.Parallel()
	l := New(2)
	var gone []string
	enter := func(name string) func() bool {
		return l.Enter(func() { gone = append(gone, name) })
	}
	first, second := enter("first"), enter("second")
	if len(gone) != 0 {
		t.Fatalf("%v had to go with room left", gone)
	}
	third := enter("third")
	if len(gone) != 1 || gone[0] != "first" {
		t.Fatalf("%v had to go, want the first", gone)
	}
	if first() {
		t.Error("who was evicted is told that it was not")
	}
	if !second() || second() {
		t.Error("a guest leaves once")
	}
	fourth := enter("fourth")
	if len(gone) != 1 || l.Len() != 2 {
		t.Errorf("%v had to go, %d are there", gone, l.Len())
	}
	if !third() || !fourth() || l.Len() != 0 {
		t.Errorf("%d stay behind", l.Len())
	}
}
