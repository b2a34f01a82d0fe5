package native

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/adit-tunnel/adit/internal/link"
)

// taker is where short payload is pushed: it takes so much at once, and the
// stream's user the rest.
type taker struct {
	most int

	mu     sync.Mutex // guards below
	got    []byte
	direct int // bytes that it took
}

func (k *taker) TryWrite(p []byte) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := min(len(p), k.most)
	k.got = append(k.got, p[:n]...)
	k.direct += n
	return n
}

func (k *taker) write(p []byte) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.got = append(k.got, p...)
}

// What is pushed and what the user takes is all that came, in order, and both are
// paid for with credit, in messages of one frame and of several.
func TestShortPayloadIsPushedInOrderAndPaidFor(t *testing.T) {
	for _, most := range []int{0, 7, 1 << 20} {
		t.Run(fmt.Sprint(most, " at once"), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e, p := byHand(t, true, link.Config{})
				st := p.opened()
				k := &taker{most: most}
				st.PushTo(k)
				ended := make(chan error)
				go func() {
					for {
						chunk, err := st.Next()
						if err != nil {
							ended <- err
							return
						}
						k.write(chunk)
					}
				}()
				synctest.Wait() // until the user waits
				sent, credited := noise(1, 10*initialWindow), 0
				for rest := sent; len(rest) > 0; {
					n := min(len(rest), 300)
					p.say(data(st.id, rest[:n/3]), data(st.id, rest[n/3:n]))
					rest = rest[n:]
					credited += credits(p.all(), st.id)
					if waiting := len(sent) - len(rest) - credited; waiting >= initialWindow/4 {
						t.Fatalf("%d bytes were taken, and no credit given for them", waiting)
					}
				}
				p.say(bare(typeFin, st.id))
				if err := <-ended; err != io.EOF {
					t.Error(err)
				}
				if !bytes.Equal(k.got, sent) {
					t.Errorf("%d bytes came of %d, or others", len(k.got), len(sent))
				}
				if all := k.direct == len(sent); all != (most > 300) {
					t.Errorf("%d were pushed", k.direct)
				}
				must(t, st.Close())
				p.hear(typeReset) // our direction had not ended
				wantNothingLeft(t, e)
			})
		})
	}
}
