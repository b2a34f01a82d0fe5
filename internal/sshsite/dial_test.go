package sshsite

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/redact"
	"github.com/adit-tunnel/adit/internal/sshserver"
)

func TestDialSaysWhyAServerCannotBeUsed(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault sshserver.Handshake
		want  api.Code
		step  string
		hangs bool // only the time limit ends it
	}{
		"closes at once":           {sshserver.CloseAtOnce, api.CodeConnectionLost, "version", false},
		"accepts and says nothing": {sshserver.HangAtOnce, api.CodeTimeout, "version", true},
		"is a web server":          {sshserver.SpeakHTTP, api.CodeNotSSH, "", false},
		"is a mail server":         {sshserver.SpeakSMTP, api.CodeNotSSH, "", true},
		"sends garbage":            {sshserver.SpeakGarbage, api.CodeNotSSH, "", false},
		"closes after its version": {sshserver.CloseAfterVersion, api.CodeConnectionLost, "exchanging keys", false},
		"exchanges no keys":        {sshserver.HangAfterVersion, api.CodeTimeout, "exchanging keys", true},
		"never answers the login":  {sshserver.HangInAuth, api.CodeTimeout, "authenticating", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t)
			f.faults.SetHandshake(c.fault)
			if c.hangs {
				f.limit = 2 * time.Second
			}
			if e := f.fails(t, c.want); !strings.Contains(e.Message, c.step) || !strings.Contains(e.Message, f.cfg.Address) {
				t.Errorf("%q does not name the address and the step %q", e.Message, c.step)
			}
		})
	}
}

func TestDialSaysThatNobodyListens(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	f := newFixture(t)
	f.cfg.Address = ln.Addr().String()
	f.fails(t, api.CodeConnectRefused)
}

func TestDialSaysThatANameIsNotKnown(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.cfg.Address = "no-such-host.invalid:22"
	f.fails(t, api.CodeNameNotFound)
}

func TestDialNamesWhatIsNotInCommon(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.faults.SetAlgorithms(ssh.Algorithms{Ciphers: []string{ssh.InsecureCipherRC4256}})
	if e := f.fails(t, api.CodeNoCommonAlgorithm); !strings.Contains(e.Message, "cipher") {
		t.Errorf("%q does not name the cipher", e.Message)
	}
}

func TestLoginByPassword(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.dial(t)
	f.cfg.Password = redact.New("wrong " + password)
	if e := f.fails(t, api.CodeAuthFailed); strings.Contains(e.Message+e.Hint, password) {
		t.Error("the error shows the password")
	}
}

func TestThePasswordAnswersKeyboardInteractive(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *sshserver.Config) { c.KeyboardInteractive, c.NoPasswordMethod = true, true })
	f.dial(t)
	if n := f.server.Counts().KeyboardAttempts; n != 1 {
		t.Errorf("%d answers to keyboard-interactive, want 1", n)
	}
}

func TestARefusedPasswordIsNotTriedAgainInteractively(t *testing.T) {
	t.Parallel()
	f := newFixture(t, func(c *sshserver.Config) { c.KeyboardInteractive = true })
	f.cfg.Password = redact.New("wrong")
	f.fails(t, api.CodeAuthFailed)
	if n := f.server.Counts(); n.PasswordAttempts != 1 || n.KeyboardAttempts != 0 {
		t.Errorf("%d password and %d interactive attempts, want 1 and 0", n.PasswordAttempts, n.KeyboardAttempts)
	}
}

func privateKey(t *testing.T, passphrase string) (text redact.Secret, public ssh.PublicKey) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if passphrase != "" {
		block, err = ssh.MarshalPrivateKeyWithPassphrase(private, "", []byte(passphrase))
	}
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return redact.New(string(pem.EncodeToMemory(block))), signer.PublicKey()
}

func TestLoginByKeyWithAndWithoutPassphrase(t *testing.T) {
	t.Parallel()
	for _, passphrase := range []string{"", "sesame"} {
		text, public := privateKey(t, passphrase)
		f := newFixture(t, func(c *sshserver.Config) { c.AuthorizedKeys = []ssh.PublicKey{public} })
		signer, err := ParseKey(t.Context(), text, redact.New(passphrase))
		if err != nil {
			t.Fatal(err)
		}
		f.cfg.Password, f.cfg.Signer = redact.Secret{}, signer
		f.dial(t)
	}
}

func TestAKeyThatIsNotAuthorisedIsRefused(t *testing.T) {
	t.Parallel()
	text, _ := privateKey(t, "")
	f := newFixture(t)
	signer, err := ParseKey(t.Context(), text, redact.Secret{})
	if err != nil {
		t.Fatal(err)
	}
	f.cfg.Password, f.cfg.Signer = redact.Secret{}, signer
	if e := f.fails(t, api.CodeAuthFailed); !strings.Contains(e.Message, ssh.FingerprintSHA256(signer.PublicKey())) {
		t.Errorf("%q does not name the key", e.Message)
	}
}

// withRounds gives an encrypted key that asks for so many rounds of work.
func withRounds(t *testing.T, text redact.Secret, rounds uint32) redact.Secret {
	t.Helper()
	block, _ := pem.Decode([]byte(text.Reveal()))
	had := kdfRounds([]byte(text.Reveal()))
	if had == 0 {
		t.Fatal("the key has no rounds")
	}
	options := []byte("bcrypt\x00\x00\x00\x18\x00\x00\x00\x10") // then the salt of 16 bytes, and the rounds
	at := bytes.Index(block.Bytes, options) + len(options) + 16
	if got := binary.BigEndian.Uint32(block.Bytes[at:]); got != had {
		t.Fatalf("%d rounds stand there, not %d", got, had)
	}
	binary.BigEndian.PutUint32(block.Bytes[at:], rounds)
	return redact.New(string(pem.EncodeToMemory(block)))
}

func TestParseKeySaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	text, _ := privateKey(t, "sesame")
	for _, c := range []struct {
		text, passphrase redact.Secret
		want             string
	}{
		{redact.New("not a key"), redact.Secret{}, "neither PEM nor OpenSSH"},
		{redact.New("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPRs6ybn+f0bEpT238XKPQ6MkdMrvrpl8IrVUGlgSRAy x"), redact.Secret{}, "public key"},
		{text, redact.Secret{}, "no passphrase"},
		{text, redact.New("open"), "does not open"},
		{withRounds(t, text, maxRounds+1), redact.New("sesame"), "257 rounds"},
		{withRounds(t, text, 1<<32-1), redact.New("sesame"), "4294967295 rounds"},
	} {
		if _, err := ParseKey(t.Context(), c.text, c.passphrase); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

func TestWhoeverGoesAwayDoesNotWaitToOpenAKey(t *testing.T) {
	t.Parallel()
	text, _ := privateKey(t, "sesame")
	opening <- struct{}{} // somebody opens one
	defer func() { <-opening }()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ParseKey(ctx, text, redact.New("sesame")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
