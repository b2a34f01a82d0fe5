package native

// The window of a stream. While the peer can still say something, under st.mu:
//
//  1. allowed, what waits for the user, and pending make up the window. It has
//     initialWindow bytes at least and maxWindow at most.
//  2. What it has above initialWindow is on the account of the link and of the
//     process, each byte once, until the stream is closed.
//  3. Less than a quarter of it is pending when nobody is in takeLocked. So a peer
//     whose every byte was taken may send three quarters of the window at least:
//     however a window shrinks, nobody waits for credit that is never given.

// came takes bytes off what may come. It reports false for those of a stream
// that is over, which are ignored (4.7).
func (st *Stream) came(n int) (wanted bool, err error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	switch {
	case st.overLocked():
		return false, nil
	case st.unansweredLocked():
		return false, wrong("4.2", "%s before the answer", typeData)
	case st.ended:
		return false, wrong("4.7", "DATA after FIN")
	case n > st.allowed:
		return false, wrong("4.3", "more data than credit")
	}
	st.allowed -= n
	return true, nil
}

// grant is took for n bytes that were held.
func (st *Stream) grant(n int) {
	if n > 0 {
		st.s.hold(-n)
		st.took(n)
	}
}

// took gives the peer credit for n bytes that the user took, when it is worth a
// frame.
func (st *Stream) took(n int) {
	if n == 0 {
		return
	}
	w := &st.s.windows
	st.mu.Lock()
	give := 0
	if st.over == nil && !st.closed { // else its account is closed, or about to be
		st.takeLocked(n)
		if !st.ended && 4*st.pending >= st.window {
			give, st.pending = st.pending, 0
			st.allowed += give
		}
	}
	wider, watched := give > 0 && st.window < maxWindow, st.watched
	st.mu.Unlock()
	if give > 0 {
		st.s.out.Send(appendNumber(nil, typeWindow, st.id, uint32(give)))
	}
	switch {
	case wider:
		w.probe()
	case watched:
		w.watch()
	}
}

// takeLocked accounts for n bytes that the user took, and makes the window as
// wide as it has use for: wider if more than half of it was taken in this round,
// at once as wide as other streams of the link had use for before; narrower, by half at most, in a round that follows two in each of which less
// than an eighth was, if credit is short. (What comes in bursts may come twice in
// one round and not at all in the next.) A window that was halved for that is far
// from being widened, so that a steady user's comes to rest.
func (st *Stream) takeLocked(n int) {
	w := &st.s.windows
	st.pending += n
	if st.ended { // no credit is given any more
		st.absorbLocked(min(st.pending, st.window-initialWindow))
		return
	}
	st.watched = st.window > initialWindow && w.short()
	if round := w.epoch.Load(); round != st.round {
		// Whatever was taken between two pongs is in taken: the round was whole.
		st.absorb = 0
		if st.watched && 8*max(st.taken, st.before) < st.window {
			st.absorb = min(st.window/2, st.window-initialWindow)
		}
		st.round, st.before, st.taken, st.widened = round, st.taken, 0, false
	}
	st.taken += n
	if 2*st.taken > st.window && st.window < maxWindow && !st.widened && w.measured() {
		want := max(4*st.window, w.use(st.window))
		more := w.widen(min(want, maxWindow) - st.window)
		st.window += more
		st.pending += more
		st.widened = more > 0
		st.absorb = 0
	}
	if st.absorb > 0 {
		part := min(st.absorb, st.pending)
		st.absorb -= part
		st.absorbLocked(part)
	}
}

// absorbLocked narrows the window by n bytes that the user took, for which no
// credit is given then.
func (st *Stream) absorbLocked(n int) {
	st.pending -= n
	st.window -= n
	st.s.windows.release(n)
}

// said is the peer's FIN (4.5). What it did not use of its credit it never will.
func (st *Stream) said() error {
	st.mu.Lock()
	if st.unansweredLocked() {
		st.mu.Unlock()
		return wrong("4.2", "%s before the answer", typeFin)
	}
	again := st.ended
	st.ended = true
	if !again && st.over == nil && !st.closed {
		st.absorbLocked(min(st.pending, st.window-initialWindow))
		unused := min(st.allowed, st.window-initialWindow)
		st.window -= unused
		st.s.windows.release(unused)
	}
	st.mu.Unlock()
	if again {
		return wrong("4.7", "a second FIN")
	}
	st.End()
	return nil
}
