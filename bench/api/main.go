// Command api measures the control API under load: many users with many rows
// each, lists and statuses read by many clients while others write, and what
// the rows of others cost. It builds adit and runs it on loopback, in a
// directory that it removes, and prints a table:
//
//	go run ./bench/api
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/client"
)

const (
	password = "correct horse battery staple"
	// limit is what 99 of 100 calls must not take longer than.
	limit = 50 * time.Millisecond
)

type options struct {
	users, rows, readers, writers int
	length                        time.Duration
	database, adit                string
}

func main() {
	var o options
	flag.IntVar(&o.users, "users", 200, "users")
	flag.IntVar(&o.rows, "rows", 50, "port forwards of each user, 1000 at most")
	flag.IntVar(&o.readers, "readers", 16, "clients that read")
	flag.IntVar(&o.writers, "writers", 2, "clients that write")
	flag.DurationVar(&o.length, "time", 10*time.Second, "how long the load lasts")
	flag.StringVar(&o.database, "database", "", "the URL of an empty PostgreSQL database, instead of SQLite")
	flag.StringVar(&o.adit, "adit", "", "an adit to measure instead of one built from this module")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "api:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "adit-bench-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	base, stop, err := serve(ctx, dir, o)
	if err != nil {
		return err
	}
	defer stop()
	through := &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: o.readers + o.writers}}
	c, err := client.New(base, through)
	if err != nil {
		return err
	}
	people := []*person{}
	add := func() error {
		p, err := newPerson(ctx, c, len(people), o.rows)
		people = append(people, p)
		return err
	}
	if err := add(); err != nil {
		return err
	}
	alone, err := listTime(ctx, people[0])
	if err != nil {
		return err
	}
	fmt.Printf("making %d users with %d port forwards each\n", o.users, o.rows)
	for len(people) < o.users {
		if err := add(); err != nil {
			return err
		}
	}
	among, err := listTime(ctx, people[0])
	if err != nil {
		return err
	}
	times, err := load(ctx, people, o)
	if err != nil {
		return err
	}
	return report(times, alone, among, o)
}

// serve runs an adit; stop ends it.
func serve(ctx context.Context, dir string, o options) (base string, stop func(), err error) {
	if o.adit == "" {
		o.adit = filepath.Join(dir, "adit")
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", o.adit, "github.com/adit-tunnel/adit/cmd/adit")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := build.CombinedOutput(); err != nil {
			return "", nil, fmt.Errorf("build adit: %w\n%s", err, text)
		}
	}
	args := []string{"serve", "--data", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0", "--relay-listen", "off", "--registration", "open", "--log-level", "warn"}
	cmd := exec.CommandContext(ctx, o.adit, args...)
	cmd.Stderr = os.Stderr
	if o.database != "" {
		cmd.Env = append(os.Environ(), "ADIT_DATABASE="+o.database)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("adit does not run: %w", err)
	}
	go io.Copy(io.Discard, out)
	_, rest, _ := strings.Cut(line, "control=")
	base, _, _ = strings.Cut(rest, " ")
	return base, stop, nil
}

// person is a user with his rows.
type person struct {
	c    *client.Client
	rows []string // ids
}

func newPerson(ctx context.Context, c *client.Client, n, rows int) (*person, error) {
	who, err := c.Register(ctx, api.Registration{
		Email: fmt.Sprintf("user%d@example.org", n), Username: fmt.Sprintf("user%d", n), Password: password,
	})
	if err != nil {
		return nil, err
	}
	p := &person{c: c.WithToken(who.Token)}
	list := make([]api.ForwardInput, rows)
	for i := range list {
		list[i] = forwardInput(i)
	}
	synced, err := p.c.SyncForwards(ctx, "", list)
	for _, f := range synced.Items {
		p.rows = append(p.rows, f.ID)
	}
	if err == nil && len(p.rows) != rows {
		err = fmt.Errorf("%d of %d port forwards were made: %v", len(p.rows), rows, synced.Errors)
	}
	return p, err
}

func forwardInput(i int) api.ForwardInput {
	return api.ForwardInput{
		LocalID: api.Some(fmt.Sprintf("row-%d", i)), Name: api.Some(fmt.Sprintf("forward %d", i)), Type: api.Some(api.ForwardLocal),
		LocalPort: api.Some(20000 + i), RemoteHost: api.Some("10.0.0.5"), RemotePort: api.Some(80),
		ServerAddress: api.Some("ssh.example.org"), Username: api.Some("u"), Password: api.Some(api.Secret("p4ss")),
	}
}

// listTime is how long a list takes with nothing else going on: the median of many.
func listTime(ctx context.Context, p *person) (time.Duration, error) {
	var took []time.Duration
	for range 200 {
		began := time.Now()
		if _, err := p.c.Forwards(ctx, "", "", client.Page{}); err != nil {
			return 0, err
		}
		took = append(took, time.Since(began))
	}
	return quantile(took, 0.5), nil
}

// deeds are what readers and writers do, by what the table calls it.
var reads = map[string]func(context.Context, *person, string) error{
	"list": func(ctx context.Context, p *person, _ string) error {
		_, err := p.c.Forwards(ctx, "", "", client.Page{})
		return err
	},
	"page of 20": func(ctx context.Context, p *person, _ string) error {
		_, err := p.c.Forwards(ctx, "", "", client.Page{Number: 2})
		return err
	},
	"status": func(ctx context.Context, p *person, id string) error {
		_, err := p.c.ForwardStatus(ctx, id)
		return err
	},
	"get": func(ctx context.Context, p *person, id string) error {
		_, err := p.c.Forward(ctx, id)
		return err
	},
}

var writes = map[string]func(context.Context, *person, string) error{
	"change": func(ctx context.Context, p *person, id string) error {
		_, err := p.c.UpdateForward(ctx, id, api.ForwardInput{Name: api.Some(fmt.Sprint("renamed ", rand.Int()))})
		return err
	},
	"create and delete": func(ctx context.Context, p *person, _ string) error {
		in := forwardInput(0)
		in.LocalID = api.Null[string]()
		f, err := p.c.CreateForward(ctx, "", in)
		if err == nil {
			err = p.c.DeleteForward(ctx, f.ID, false)
		}
		return err
	},
}

// load makes all at once, and gives how long each call took.
func load(ctx context.Context, people []*person, o options) (map[string][]time.Duration, error) {
	fmt.Printf("%d clients read and %d write for %v\n", o.readers, o.writers, o.length)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var mu sync.Mutex
	times := map[string][]time.Duration{}
	var failed error
	deadline := time.Now().Add(o.length)
	work := func(deeds map[string]func(context.Context, *person, string) error) {
		for time.Now().Before(deadline) {
			for name, do := range deeds { // in an order that changes
				p := people[rand.IntN(len(people))]
				began := time.Now()
				err := do(ctx, p, p.rows[rand.IntN(len(p.rows))])
				mu.Lock()
				times[name] = append(times[name], time.Since(began))
				if err != nil && failed == nil {
					failed = fmt.Errorf("%s: %w", name, err)
					cancel()
				}
				stop := failed != nil
				mu.Unlock()
				if stop {
					return
				}
			}
		}
	}
	var group sync.WaitGroup
	for range o.readers {
		group.Go(func() { work(reads) })
	}
	for range o.writers {
		group.Go(func() { work(writes) })
	}
	group.Wait()
	return times, failed
}

func report(times map[string][]time.Duration, alone, among time.Duration, o options) error {
	fmt.Printf("\n%-20s %8s %10s %10s %10s\n", "", "calls/s", "median", "99 %", "longest")
	names := []string{}
	for name := range times {
		names = append(names, name)
	}
	slices.Sort(names)
	var slow error
	for _, name := range names {
		all := times[name]
		p99 := quantile(all, 0.99)
		verdict := ""
		if reads[name] != nil {
			verdict = "ok"
			if p99 > limit {
				verdict = "too slow"
				slow = errors.Join(slow, fmt.Errorf("%s: 99 %% within %v, want %v", name, p99, limit))
			}
		}
		fmt.Printf("%-20s %8.0f %10v %10v %10v  %s\n", name, float64(len(all))/o.length.Seconds(), quantile(all, 0.5), p99, quantile(all, 1), verdict)
	}
	fmt.Printf("\na list with nobody else's rows there: %v, with those of %d others: %v (%.2f of it)\n",
		alone, o.users-1, among, float64(among)/float64(alone))
	return slow
}

func quantile(all []time.Duration, q float64) time.Duration {
	slices.Sort(all)
	return all[min(int(q*float64(len(all))), len(all)-1)].Round(10 * time.Microsecond)
}
