package native

import (
	"flag"
	"fmt"
	"testing"
	"testing/synctest"

	"pgregory.net/rapid"
)

// act is something that the session's user, a target of its, or its peer does
// with one of the streams. What cannot be done at the moment is left out.
type act struct {
	What   string
	Slot   int  // which stream, of those that there are
	Amount int  // of bytes: percent of what may be sent or taken
	Wrong  bool // what the protocol forbids, where there is such a thing
}

var acts = []string{
	"dial", "write", "read", "closeWrite", "close", // the user, of streams of its own
	"answer", "refuse", "say", "end", "break", // the targets, of streams that the peer opened
	"OPEN", "ACCEPT", "DATA", "DATA", "WINDOW", "FIN", "RESET", "DATAGRAM", "extension", // the peer
}

var anAct = rapid.Custom(func(t *rapid.T) act {
	return act{
		What:   rapid.SampledFrom(acts).Draw(t, "what"),
		Slot:   rapid.IntRange(0, 3).Draw(t, "slot"),
		Amount: rapid.IntRange(0, 100).Draw(t, "amount"),
		Wrong:  rapid.IntRange(0, 40).Draw(t, "wrong") == 40,
	}
})

// Section 4.7. Whatever the two ends do, the session says what the model says
// that it may and must say, and ends the link if and only if the peer did wrong.
func TestASessionFollowsTheStateMachine(t *testing.T) {
	if seed := flag.Lookup("rapid.seed"); seed.Value.String() == seed.DefValue {
		must(t, flag.Set("rapid.seed", "1"))
	}
	for _, v := range []struct {
		client bool
		others int
	}{{false, 0}, {true, 0}, {true, 40 << 20}} { // of which the last is short of credit
		t.Run(fmt.Sprintf("client=%v,others=%d", v.client, v.others), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				list := rapid.SliceOfN(anAct, 80, 160).Draw(rt, "acts")
				var err error
				synctest.Test(t, func(t *testing.T) { err = follow(t, v.client, v.others, list) })
				if err != nil {
					rt.Fatal(err)
				}
			})
		})
	}
}

// follow does all of a list, in the session and in the model.
func follow(t *testing.T, client bool, others int, list []act) error {
	m := newModel(t, client, others)
	for i, a := range list {
		section := m.do(a)
		err := m.check(section)
		if err != nil {
			return fmt.Errorf("act %d, %+v: %w", i, a, err)
		}
		if section != "" {
			break // the link has ended, as it should
		}
	}
	return m.finish()
}

// do does one thing, and says with an error of which section the link has to
// end for it, if it has.
func (m *model) do(a act) (section string) {
	switch a.What {
	case "dial":
		if len(m.streams) < 6 {
			m.dial()
		}
		return ""
	case "OPEN":
		return m.peerOpens(a.Wrong)
	case "extension":
		m.p.say(frame(firstExtension+frameType(a.Slot), uint32(a.Slot), zeros(a.Amount)))
		return ""
	}
	if a.Wrong && a.Slot == 0 {
		return m.neverWas(a)
	}
	if len(m.streams) == 0 {
		return ""
	}
	s := m.streams[a.Slot%len(m.streams)]
	switch a.What {
	case "ACCEPT", "DATA", "WINDOW", "FIN", "RESET", "DATAGRAM":
		return m.peerDoes(s, a)
	}
	if s.ours {
		m.userDoes(s, a)
	} else {
		m.targetDoes(s, a)
	}
	return ""
}

// neverWas is a frame of a stream that nobody opened.
func (m *model) neverWas(a act) string {
	kinds := map[string][]byte{
		"ACCEPT": bare(typeAccept, m.theirNext+100), "DATA": data(m.theirNext+100, []byte("x")), "WINDOW": window(m.ourNext+100, 1),
		"FIN": bare(typeFin, m.ourNext), "RESET": reset(m.theirNext, Failed, ""), "DATAGRAM": datagram{}.append(nil, m.ourNext),
	}
	if kinds[a.What] == nil {
		return ""
	}
	m.p.say(kinds[a.What])
	return "4.7"
}

func (m *model) peerOpens(wrong bool) string {
	if len(m.streams) >= 6 && !wrong {
		return ""
	}
	id := m.theirNext
	switch {
	case wrong && id > 2:
		id -= 2
	case wrong:
		id++
	}
	m.p.say(opening{kind: openTCP, host: "target", port: 80}.append(nil, id))
	if wrong {
		return "4.1"
	}
	m.theirNext += 2
	s := &twin{m: m, id: id, mayCome: initialWindow, maySend: initialWindow}
	synctest.Wait()
	s.gate = <-m.dialled
	m.e.mu.Lock()
	s.st = m.e.streams[id]
	m.e.mu.Unlock()
	m.streams = append(m.streams, s)
	return ""
}

// peerDoes is a frame of a stream that was. What is wrong is left out unless it
// is asked for, or few lists would come far.
func (m *model) peerDoes(s *twin, a act) string {
	n := min(s.mayCome*a.Amount/100, maxData)
	if a.Wrong && a.Amount%2 == 0 && s.mayCome < maxData {
		n = s.mayCome + 1
	}
	more := 1 + a.Amount*5000
	if a.Wrong || s.maySend+more > maxWindow {
		more = maxWindow - s.maySend + 1
	}
	section := s.wrong(a.What, n, more)
	if section != "" && !a.Wrong || a.What == "DATA" && n == 0 {
		return ""
	}
	over := s.over()
	switch a.What {
	case "DATAGRAM":
		m.p.say(datagram{"192.0.2.1", 53, nil}.append(nil, s.id))
	case "ACCEPT":
		m.p.say(bare(typeAccept, s.id))
		s.answered = s.answered || !over
	case "DATA":
		m.p.say(data(s.id, s.comes.next(n)))
		if !over {
			s.mayCome, s.waiting = s.mayCome-n, s.waiting+n
		}
	case "WINDOW":
		m.p.say(window(s.id, uint32(more)))
		s.maySend += more
	case "FIN":
		m.p.say(bare(typeFin, s.id))
		s.gotFin = s.gotFin || !over
	case "RESET":
		m.p.say(reset(s.id, Refused, "for the model"))
		s.broken = s.broken || !over
	}
	return section
}

// wrong is the section that forbids a frame. The order is that of the states in
// the table of 4.7: what is over, what is not yet, what is.
func (s *twin) wrong(what string, n, more int) string {
	early := s.ours && !s.answered
	switch {
	case s.over():
	case what == "ACCEPT" && !early:
		return "4.7"
	case (what == "DATA" || what == "FIN") && early:
		return "4.2"
	case (what == "DATA" || what == "FIN") && s.gotFin:
		return "4.7"
	case what == "DATA" && n > s.mayCome, what == "WINDOW" && s.maySend+more > maxWindow:
		return "4.3"
	}
	return ""
}
