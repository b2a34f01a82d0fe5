package native

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"
)

// The examples of docs/protocol.md say what they mean.
func TestTheExamplesOfTheProtocolAreWhatTheySay(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## 9. Examples\n")
	if !found {
		t.Fatal("docs/protocol.md has no section 9")
	}
	kinds := make(map[frameType]bool)
	for line := range strings.Lines(section) {
		cells := strings.Split(strings.Trim(line, "|\n "), " | ")
		if len(cells) != 2 || !strings.HasPrefix(cells[0], "`") {
			continue
		}
		frame, err := hex.DecodeString(strings.ReplaceAll(strings.Trim(cells[0], "`"), " ", ""))
		if err != nil {
			t.Fatalf("%s: %v", cells[0], err)
		}
		meaning, again, err := explain(frame)
		switch {
		case err != nil:
			t.Errorf("%s: %v", cells[1], err)
		case meaning != cells[1]:
			t.Errorf("%q is written, %q is meant", cells[1], meaning)
		case !bytes.Equal(again, frame):
			t.Errorf("%s is % x, we would write % x", meaning, frame, again)
		}
		kinds[frameType(frame[3])] = true
	}
	for kind, s := range shapes {
		if s.name != "" && !kinds[frameType(kind)] {
			t.Errorf("there is no example of %s", s.name)
		}
	}
}

// explain decodes a frame, says what it means in the words of the page, and
// encodes it again.
func explain(frame []byte) (meaning string, again []byte, err error) {
	h := parseHeader(frame)
	p := frame[headerSize:]
	if err := h.check(); err != nil {
		return "", nil, err
	}
	if len(p) != h.length {
		return "", nil, fmt.Errorf("a payload of %d bytes, not %d", len(p), h.length)
	}
	stream := fmt.Sprintf("%s stream=%d", h.kind, h.stream)
	switch h.kind {
	case typeHello:
		m, err := decodeHello(p)
		return fmt.Sprintf("HELLO role=%d instance=%s token=%s", m.Role, m.Instance, m.Token.Reveal()), m.Append(nil), err
	case typeWelcome, typeAccept, typeFin:
		if h.stream == 0 {
			stream = h.kind.String()
		}
		return stream, appendHeader(nil, h.kind, h.stream, 0), nil
	case typeRefused, typeReset:
		m := decodeVerdict(p)
		if h.stream == 0 {
			stream = h.kind.String()
		}
		meaning = fmt.Sprintf("%s reason=%d", stream, m.reason)
		if m.text != "" {
			meaning += fmt.Sprintf(" text=%q", m.text)
		}
		return meaning, m.append(nil, h.kind, h.stream), nil
	case typeOpen:
		m, err := decodeOpening(p)
		meaning = stream + " udp"
		if m.kind == openTCP {
			meaning = stream + " tcp " + m.address()
		}
		if len(m.early) > 0 {
			meaning += fmt.Sprintf(" early=%q", m.early)
		}
		return meaning, m.append(nil, h.stream), err
	case typeData:
		return fmt.Sprintf("%s %q", stream, p), append(appendHeader(nil, typeData, h.stream, len(p)), p...), nil
	case typeDatagram:
		m, err := decodeDatagram(p)
		return fmt.Sprintf("%s %s:%d %q", stream, m.host, m.port, m.payload), m.append(nil, h.stream), err
	case typeGoAway:
		m := decodeGoAway(p)
		return fmt.Sprintf("GOAWAY last=%d reason=%d", m.last, m.reason), m.append(nil), nil
	}
	return explainMore(h, stream, p)
}

func explainMore(h header, stream string, p []byte) (meaning string, again []byte, err error) {
	switch h.kind {
	case typeConnector:
		m := decodeWish(p)
		return fmt.Sprintf("CONNECTOR request=%d %s %s", m.request, []string{"", "add", "remove"}[m.op], m.text), m.append(nil, h.kind), nil
	case typeConnectorResult:
		m := decodeWish(p)
		return fmt.Sprintf("CONNECTOR_RESULT request=%d %s %s", m.request, []string{"refused", "ok"}[m.op], m.text), m.append(nil, h.kind), nil
	case typeWindow, typePartners:
		n := uint32(p[0])<<24 | uint32(p[1])<<16 | uint32(p[2])<<8 | uint32(p[3])
		meaning = fmt.Sprintf("%s credit=%d", stream, n)
		if h.kind == typePartners {
			meaning = fmt.Sprintf("PARTNERS %d", n)
		}
		return meaning, appendNumber(nil, h.kind, h.stream, n), nil
	case typeLog:
		m := decodeLine(p)
		return fmt.Sprintf("LOG %s %q", levels[m.level], m.text), m.append(nil), nil
	}
	return "", nil, fmt.Errorf("no example of %s is known", h.kind)
}
