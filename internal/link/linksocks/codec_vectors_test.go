package linksocks

import (
	"encoding/hex"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/adit-tunnel/adit/internal/redact"
)

// id is the one in the vectors.
var id = uuid.UUID{0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff}

// wire reads hex; blanks are for the eye.
func wire(t testing.TB, fields ...string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(strings.Join(fields, ""), " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A vector is a message as it is specified, byte by byte.
type vector struct {
	name string
	wire []string // a field an entry
	want Message
	// ends are the lengths at which a cut message is one too.
	ends []int
	// foreign says that we read this, but write it another way or not at all.
	foreign bool
	// open says that bytes behind the message are read as a part of it.
	open bool
}

var vectors = slices.Concat(linkVectors, channelVectors)

// linkVectors are the messages of a link itself.
var linkVectors = []vector{
	{
		name: "auth of a provider",
		wire: []string{
			"01",                               // Ver
			"01",                               // Type
			"05",                               // TokLen
			"74 6f 6b 2d 31",                   // Token "tok-1"
			"01",                               // Reverse
			"00112233445566778899aabbccddeeff", // Instance
		},
		want: &Auth{Token: redact.New("tok-1"), Reverse: true, Instance: id},
	},
	{
		name: "auth without a token",
		wire: []string{
			"01 01",
			"00",                               // TokLen
			"00",                               // Reverse
			"00000000000000000000000000000000", // Instance
		},
		want: &Auth{},
	},
	{
		name: "auth response, ok",
		wire: []string{
			"01 02",
			"01", // Ok
		},
		want: &AuthResponse{OK: true},
		open: true,
	},
	{
		name: "auth response, ok, with the token in effect",
		wire: []string{
			"01 02",
			"01",       // Ok
			"03",       // TokLen
			"65 66 66", // Token "eff"
		},
		want: &AuthResponse{OK: true, Token: redact.New("eff")},
		ends: []int{3, 4, 5, 6, 7}, // stock clients do not look there
	},
	{
		name: "auth response, refused",
		wire: []string{
			"01 02",
			"00",                                     // Ok
			"0d",                                     // ErrLen
			"69 6e 76 61 6c 69 64 20 74 6f 6b 65 6e", // Err "invalid token"
		},
		want: &AuthResponse{Cause: "invalid token"},
		ends: []int{3},
	},
	{
		name: "auth response, refused without a word",
		wire: []string{
			"01 02",
			"00", // Ok
		},
		want:    &AuthResponse{},
		foreign: true, // we send ErrLen 0
		open:    true,
	},
	{
		name: "connector, add",
		wire: []string{
			"01 07",
			"00112233445566778899aabbccddeeff", // ReqId
			"04",                               // TokLen
			"63 6f 6e 6e",                      // Token "conn"
			"01",                               // Op add
		},
		want: &Connector{Request: id, Token: redact.New("conn"), Op: OpAdd},
	},
	{
		name: "connector, remove",
		wire: []string{
			"01 07",
			"00112233445566778899aabbccddeeff", // ReqId
			"00",                               // TokLen
			"02",                               // Op remove
		},
		want: &Connector{Request: id, Op: OpRemove},
	},
	{
		name: "connector response, added",
		wire: []string{
			"01 08",
			"00112233445566778899aabbccddeeff", // ReqId
			"01",                               // Ok
			"04",                               // TokLen
			"63 6f 6e 6e",                      // Token "conn"
		},
		want: &ConnectorResponse{Request: id, OK: true, Token: redact.New("conn")},
		ends: []int{19},
	},
	{
		name: "connector response, removed",
		wire: []string{
			"01 08",
			"00112233445566778899aabbccddeeff", // ReqId
			"01",                               // Ok
		},
		want: &ConnectorResponse{Request: id, OK: true},
		open: true,
	},
	{
		name: "connector response, refused",
		wire: []string{
			"01 08",
			"00112233445566778899aabbccddeeff", // ReqId
			"00",                               // Ok
			"02",                               // ErrLen
			"6e 6f",                            // Err "no"
		},
		want: &ConnectorResponse{Request: id, Cause: "no"},
	},
	{
		name: "log",
		wire: []string{
			"01 09",
			"00 00 00 1c", // Len 28
			"7b 22 6c 65 76 65 6c 22 3a 22 69 6e 66 6f 22 2c", // {"level":"info",
			"22 6d 73 67 22 3a 22 68 69 22 7d 20",             // "msg":"hi"} and a blank
		},
		want:    &Log{Level: "info", Text: "hi"},
		foreign: true, // the blank
	},
	{
		name: "partners",
		wire: []string{
			"01 0a",
			"00 00 00 0b",                      // Len
			"7b 22 63 6f 75 6e 74 22 3a 33 7d", // {"count":3}
		},
		want: &Partners{Count: 3},
	},
	{
		name: "direct capabilities are not read",
		wire: []string{
			"01 0b",
			"00 00 00 02", // Len
			"7b 7d",       // {}
		},
		want: &Direct{Kind: TypeDirectCapabilities, JSON: []byte("{}")},
	},
	{
		name: "direct rendezvous is not read",
		wire: []string{
			"01 0c",
			"00 00 00 01", // Len
			"7b",          // {
		},
		want: &Direct{Kind: TypeDirectRendezvous, JSON: []byte("{")},
	},
	{
		name: "direct status is not read",
		wire: []string{
			"01 0d",
			"00 00 00 00", // Len
		},
		want: &Direct{Kind: TypeDirectStatus, JSON: []byte{}},
	},
	{
		name:    "the first unknown type",
		wire:    []string{"01 0e"},
		want:    &Unknown{Kind: 0x0e},
		foreign: true,
	},
	{
		name: "an unknown type with something in it",
		wire: []string{
			"01 ff",
			"de ad be ef",
		},
		want:    &Unknown{Kind: 0xff},
		ends:    []int{2, 3, 4, 5},
		foreign: true,
	},
	{
		name:    "type 0 is unknown too",
		wire:    []string{"01 00"},
		want:    &Unknown{},
		foreign: true,
	},
}
