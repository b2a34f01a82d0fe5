package demo

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"os"
	"strings"
	"text/template"

	"github.com/adit-tunnel/adit/api"
)

//go:embed guide.txt
var guideText string

var guideTemplate = template.Must(template.New("guide").Funcs(template.FuncMap{"quote": quote}).Parse(guideText))

// guide is what guide.txt shows.
type guide struct {
	API, Page, Data        string
	Local, Dynamic, Remote string
	Curl, SOCKSCurl        string // how curl is called, without and with a SOCKS proxy
	Credentials, Token     string
	LocalPath              string
}

// tell writes what to try, in one piece.
func (d *demo) tell(url string, made furnished) error {
	credentials, err := json.Marshal(api.Credentials{Email: email, Password: made.password})
	if err != nil {
		return err
	}
	g := guide{
		API: url, Page: "http://" + pageHost + "/", Data: d.dir,
		Local: made.local, Dynamic: made.dynamic, Remote: made.remote,
		Credentials: string(credentials), Token: string(made.token),
		LocalPath: "/port-forwards/" + localID,
	}
	g.Curl, g.SOCKSCurl = curls(os.Getenv)
	var text bytes.Buffer
	if err := guideTemplate.Execute(&text, g); err != nil {
		return err
	}
	_, err = d.out.Write(text.Bytes())
	return err
}

// curls gives how to call curl, which takes proxies from the environment: one
// that is named there must not stand between this machine and itself, nor an
// exception from it keep curl from the SOCKS proxy that it is told to use.
func curls(env func(name string) string) (direct, socks string) {
	direct, socks = "curl", "curl"
	// As curl reads them: http_proxy has no form in capitals.
	if env("http_proxy")+env("all_proxy")+env("ALL_PROXY") != "" {
		direct += " --noproxy '*'"
	}
	if env("no_proxy")+env("NO_PROXY") != "" {
		socks += " --noproxy ''"
	}
	return direct, socks
}

// quote makes a text one word for a POSIX shell.
func quote(text string) string {
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
