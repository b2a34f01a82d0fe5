package linksocks

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"math"
	"runtime"
	"testing"
)

// deflated is one gzip member of n zeros.
func deflated(t testing.TB, n int64) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(w, zeros{}, n); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// gzipped is a Data with a payload that is compressed, or says so.
func gzipped(payload []byte) []byte {
	b := append(begin(nil, TypeData), byte(TCP))
	b = append(b, id[:]...)
	return appendBlock(append(b, compGzip), payload)
}

// claiming is a gzip stream whose end says that it holds size bytes.
func claiming(stream []byte, size uint32) []byte {
	b := bytes.Clone(stream)
	binary.LittleEndian.PutUint32(b[len(b)-4:], size)
	return b
}

func TestTheLimitOfInflationIsExact(t *testing.T) {
	t.Parallel()
	const limit = minInflated
	d := &Decoder{MaxInflated: limit}
	whole := deflated(t, limit)
	for _, stream := range [][]byte{
		whole,
		append(deflated(t, limit-7), deflated(t, 7)...),
		append(deflated(t, 7), deflated(t, limit-7)...),
		append(bytes.Clone(whole), deflated(t, 0)...),
	} {
		m, err := d.Decode(gzipped(stream))
		if err != nil {
			t.Error(err)
			continue
		}
		if p := m.(*Data).Payload; len(p) != limit || cap(p) != limit || len(bytes.Trim(p, "\x00")) != 0 {
			t.Errorf("inflated to %d bytes in %d, want %d zeros", len(p), cap(p), limit)
		}
		_, err = d.Decode(gzipped(append(stream, deflated(t, 1)...)))
		wantFault(t, err, TypeData, ErrTooLarge)
	}
	_, err := d.Decode(gzipped(deflated(t, limit+1)))
	wantFault(t, err, TypeData, ErrTooLarge)
}

func TestTheLimitOfInflationIsNeverBelowWhatPeersSend(t *testing.T) {
	t.Parallel()
	for given, want := range map[int]int{0: 4 << 20, 1: 2 << 20, -1: 2 << 20, 2<<20 + 1: 2<<20 + 1, 32 << 20: 32 << 20} {
		if got := (&Decoder{MaxInflated: given}).maxInflated(); got != want {
			t.Errorf("%d means %d, want %d", given, got, want)
		}
	}
}

func TestAnHonestPayloadIsInflatedOnce(t *testing.T) {
	t.Parallel()
	tests := []struct {
		stream []byte
		limit  int
		want   int
	}{
		{deflated(t, 1<<20), minInflated, 1 << 20}, // nothing is more compressible
		{deflated(t, 0), minInflated, 0},
		{deflated(t, 1<<20), 1000, 1000},
		{claiming(make([]byte, 10), 1<<32-1), minInflated, 10 * maxRatio},
		{make([]byte, 3), minInflated, 0},
	}
	for _, tt := range tests {
		if got := sizeHint(tt.stream, tt.limit); got != tt.want {
			t.Errorf("%d bytes are taken to hold %d, want %d", len(tt.stream), got, tt.want)
		}
	}
}

func TestABombCostsNoMoreThanTheLimit(t *testing.T) { // not parallel: it measures memory
	const limit = minInflated
	const slack = 160 << 10 // an inflater, and what the runtime does meanwhile
	bomb := deflated(t, 2*limit)
	big := claiming(bomb, 1<<32-1)
	tests := []struct {
		name   string
		stream []byte
		fault  error
		cost   uint64
	}{
		{"one member", bomb, ErrTooLarge, limit},
		{"one member that claims all there is", big, ErrTooLarge, limit},
		{"one member that claims nothing", claiming(bomb, 0), ErrTooLarge, 0},
		{"many members", bytes.Repeat(deflated(t, limit/4), 5), ErrTooLarge, limit / 4},
		{"members without end and without content", bytes.Repeat(deflated(t, 0), 1000), nil, 0},
		{"a few bytes that claim all there is", claiming(deflated(t, 1), 1<<32-1), ErrGzip, 30 * maxRatio},
		{"noise that claims all there is", bytes.Repeat([]byte{0xff}, 100), ErrGzip, 100 * maxRatio},
		{"one member and half a bomb", append(deflated(t, limit-1), big[:len(big)/2]...), ErrTooLarge, 2 * limit},
	}
	for _, tt := range tests {
		msg := gzipped(tt.stream)
		d := &Decoder{MaxInflated: limit}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := d.Decode(msg)
		runtime.ReadMemStats(&after)
		if tt.fault != nil {
			wantFault(t, err, TypeData, tt.fault)
		} else if err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if cost := after.TotalAlloc - before.TotalAlloc; cost > tt.cost+slack {
			t.Errorf("%s: %d bytes cost %d of memory, want at most %d", tt.name, len(msg), cost, tt.cost+slack)
		}
	}
}

func TestTheUnauthenticatedCostNextToNothing(t *testing.T) { // not parallel: it measures memory
	bomb := gzipped(deflated(t, 1<<20))
	long := append(wire(t, vectors[0].wire...), make([]byte, 1<<20)...)
	for _, msg := range [][]byte{bomb, long, long[:MaxAuth], long[:9]} {
		cost := uint64(math.MaxUint64)
		for range 5 { // the runtime takes memory now and then, too
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _ = DecodeAuth(msg)
			_, _ = DecodeAuthResponse(msg)
			runtime.ReadMemStats(&after)
			cost = min(cost, after.TotalAlloc-before.TotalAlloc)
		}
		if cost > 4<<10 {
			t.Errorf("a first message of %d bytes cost %d bytes of memory", len(msg), cost)
		}
	}
}

// A pooled inflater is used again after each of its possible ends.
func TestABadPayloadDoesNotSpoilTheNext(t *testing.T) {
	t.Parallel()
	d := new(Decoder)
	good := deflated(t, 1000)
	for n := range good {
		_, err := d.Decode(gzipped(good[:n]))
		wantFault(t, err, TypeData, ErrGzip)
		m, err := d.Decode(gzipped(good))
		if err != nil || len(m.(*Data).Payload) != 1000 {
			t.Fatalf("after %d bytes of %d: %+v, %v", n, len(good), m, err)
		}
	}
}

func TestPeekDoesNotInflate(t *testing.T) { // not parallel: it counts allocations
	msg := gzipped(deflated(t, 1<<20))
	h, err := Peek(msg)
	if want := (Head{Type: TypeData, Channel: id, Proto: TCP, Gzipped: true}); err != nil || h != want {
		t.Errorf("peeked %+v, %v; want %+v", h, err, want)
	}
	if n := testing.AllocsPerRun(10, func() { _, _ = Peek(msg) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
