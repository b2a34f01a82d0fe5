package sshserver_test

import (
	"testing"

	"golang.org/x/crypto/ssh"

	"github.com/adit-tunnel/adit/internal/sshserver"
)

// answer answers every question of keyboard-interactive with text.
func answer(text string) ssh.AuthMethod {
	return ssh.KeyboardInteractive(func(_, _ string, questions []string, _ []bool) ([]string, error) {
		answers := make([]string, len(questions))
		for i := range answers {
			answers[i] = text
		}
		return answers, nil
	})
}

func TestLogin(t *testing.T) {
	t.Parallel()
	known, err := sshserver.GenerateRSAHostKey()
	if err != nil {
		t.Fatal(err)
	}
	unknown, err := sshserver.GenerateECDSAHostKey()
	if err != nil {
		t.Fatal(err)
	}
	everything := func(c *sshserver.Config) {
		c.AuthorizedKeys = []ssh.PublicKey{known.PublicKey()}
		c.KeyboardInteractive = true
	}
	interactiveOnly := func(c *sshserver.Config) { c.KeyboardInteractive, c.NoPasswordMethod = true, true }

	for name, test := range map[string]struct {
		config func(*sshserver.Config)
		user   string
		method ssh.AuthMethod
		want   bool
	}{
		"password":                   {nil, "miner", ssh.Password("lamp"), true},
		"wrong password":             {nil, "miner", ssh.Password("lump"), false},
		"no password":                {nil, "miner", ssh.Password(""), false},
		"password of another user":   {nil, "smith", ssh.Password("lamp"), false},
		"key":                        {everything, "miner", ssh.PublicKeys(known), true},
		"unknown key":                {everything, "miner", ssh.PublicKeys(unknown), false},
		"key of another user":        {everything, "smith", ssh.PublicKeys(known), false},
		"keys when there are none":   {nil, "miner", ssh.PublicKeys(known), false},
		"interactive":                {everything, "miner", answer("lamp"), true},
		"interactive, wrong":         {everything, "miner", answer("lump"), false},
		"interactive, another user":  {everything, "smith", answer("lamp"), false},
		"interactive, not offered":   {nil, "miner", answer("lamp"), false},
		"interactive only":           {interactiveOnly, "miner", answer("lamp"), true},
		"password, interactive only": {interactiveOnly, "miner", ssh.Password("lamp"), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := start(t, test.config)
			cfg := server.config()
			cfg.User, cfg.Auth = test.user, []ssh.AuthMethod{test.method}
			_, err := server.dial(cfg, patience)
			if got := err == nil; got != test.want {
				t.Errorf("login is %v, want %v: %v", got, test.want, err)
			}
		})
	}
}

func TestLoginEndsAfterSixTries(t *testing.T) {
	t.Parallel()
	server := start(t, func(c *sshserver.Config) { c.KeyboardInteractive = true })
	cfg := server.config()
	cfg.Auth = []ssh.AuthMethod{
		ssh.RetryableAuthMethod(ssh.Password("lump"), 4),
		ssh.RetryableAuthMethod(answer("lump"), 4),
	}
	if _, err := server.dial(cfg, patience); err == nil {
		t.Fatal("the wrong password logs in")
	}
	c := server.Counts()
	if c.PasswordAttempts != 4 || c.KeyboardAttempts != 2 || c.Accepted != 1 || c.Authenticated != 0 {
		t.Errorf("counts are %+v", c)
	}
}
