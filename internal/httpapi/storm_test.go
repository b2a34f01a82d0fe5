package httpapi_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Ten clients at once, and one sane state in the end.
func TestAStormOfCallsOnOneForwardEndsInOneState(t *testing.T) {
	t.Parallel()
	g := newGround(t)
	path := g.forward(object{"localId": "storm"})
	ports := []float64{freePort(t), freePort(t), freePort(t)}
	calls := []func(i int) answer{
		func(int) answer { return g.post(path+"/start", nil) },
		func(int) answer { return g.post(path+"/stop", nil) },
		func(i int) answer { return g.patch(path, object{"localPort": ports[i%3]}) },
		func(int) answer { return g.get(path + "/status") },
		func(i int) answer {
			return g.post("/port-forwards/sync", fmt.Sprintf(`[{"localId":"storm","name":"n%d","type":"local"}]`, i))
		},
		func(i int) answer { return g.patch("/servers/mole", object{"description": fmt.Sprint(i)}) },
		func(int) answer { return g.get("/port-forwards") },
		func(int) answer { return g.delete(path + "/host-key") }, // 400: it has none of its own
	}
	var storm sync.WaitGroup
	for c := range 10 {
		storm.Go(func() {
			for i := range 8 {
				got := calls[(c+i)%len(calls)](c + i)
				if !slices.Contains([]int{200, 400, 409}, got.status) {
					t.Errorf("%d %s", got.status, got.raw)
				}
			}
		})
	}
	storm.Wait()
	g.post(path+"/stop", nil).is(200)
	has(t, g.get(path).is(200), object{"state": "inactive", "status": "inactive", "tunnelId": nil, "connectionId": nil, "desired": "inactive"})
	for _, port := range ports {
		refuses(t, net.JoinHostPort("127.0.0.1", fmt.Sprint(port)))
	}
	got := g.started(path)
	g.echoes(g.dial(bound(got)), "calm")

	var deletes sync.WaitGroup
	answers := make([]answer, 10)
	for i := range answers {
		deletes.Go(func() { answers[i] = g.delete(path + "?force=true") })
	}
	deletes.Wait()
	gone := 0
	for _, a := range answers {
		switch a.status {
		case 200:
			gone++
		case 404:
		default:
			t.Errorf("delete: %d %s", a.status, a.raw)
		}
	}
	if gone != 1 {
		t.Errorf("deleted %d times", gone)
	}
	refuses(t, bound(got))
}

func TestOneLocalIDIsTakenOnceByManyAtOnce(t *testing.T) {
	t.Parallel()
	f := signedUp(t)
	var creates sync.WaitGroup
	answers := make([]answer, 10)
	for i := range answers {
		creates.Go(func() { answers[i] = f.post("/port-forwards", object{"name": "a", "type": "local", "localId": "one"}) })
	}
	creates.Wait()
	made := 0
	for _, a := range answers {
		if a.status == 201 {
			made++
		} else if !strings.Contains(a.raw, "is taken by port forward") {
			t.Errorf("%d %s", a.status, a.raw)
		}
	}
	if made != 1 || len(f.get("/port-forwards").list()) != 1 {
		t.Errorf("made %d", made)
	}
}
