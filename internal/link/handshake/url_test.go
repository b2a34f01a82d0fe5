package handshake

import (
	"strings"
	"testing"
)

func TestNormalizeURLReadsWhatPeopleWrite(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"relay.example":                     "wss://relay.example/socket",
		"relay.example:8765/":               "wss://relay.example:8765/socket",
		"localhost:8765":                    "wss://localhost:8765/socket",
		"//relay.example":                   "wss://relay.example/socket",
		"[::1]:8765":                        "wss://[::1]:8765/socket",
		"ws://localhost:8765":               "ws://localhost:8765/socket",
		"http://relay.example/":             "ws://relay.example/socket",
		"HTTPS://relay.example?a=b":         "wss://relay.example/socket?a=b",
		"wss://relay.example/socket/":       "wss://relay.example/socket/",
		"https://relay.example/foo%2Fbar/":  "wss://relay.example/foo%2Fbar/",
		"relay.example/a?to=http://b@c/%zz": "wss://relay.example/a?to=http://b@c/%zz",
		"relay.example/@a":                  "wss://relay.example/@a",
	} {
		u, err := NormalizeURL(text)
		if err != nil || u.String() != want {
			t.Errorf("%s: %v, %v, want %s", text, u, err, want)
		}
	}
}

func TestNormalizeURLNamesWhatIsWrongAndNoSecret(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                                      "empty",
		"ftp://relay.example/?s3cret":           `scheme "ftp"`,
		"wss://ann:s3cret@relay.example":        "user or password",
		"ann:s3cret@relay.example":              "user or password",
		"ann:s3cret%zz@relay.example":           "user or password",
		"wss://ann:s3cret@[relay":               "user or password",
		"wss://":                                "no host",
		"wss:///socket?token=s3cret":            "no host",
		"wss://:8765":                           "no host",
		"wss://relay.example:":                  "colon without a port",
		"wss://relay.example:0/?token=s3cret":   "port 0",
		"wss://relay.example:99999":             "port 99999",
		"wss://relay.example:80x/?token=s3cret": `invalid port ":80x"`,
		"wss://relay.example/%zz?token=s3cret":  `"%zz"`,
		"wss://relay example?token=s3cret":      "cannot be read",
		"wss://relay.example?token=s3cret\x7f":  "from ? or # on",
		"wss://relay.example#s3cret":            "fragment",
		"wss://relay.example#s3cret%zz":         "from ? or # on",
	} {
		u, err := NormalizeURL(text)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v, %v", text, u, err)
		}
	}
}
