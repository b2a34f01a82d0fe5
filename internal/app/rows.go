package app

import (
	"context"
	"errors"
	"net"
	"strconv"

	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/store"
)

// rows looks up the rows that others name, each once, so that a list costs
// queries by what it shows and not by its length. It is for one view.
type rows struct {
	from     *store.Reader
	servers  map[string]*store.Server // by id; nil when gone
	keys     map[string]*store.Key    // by id; nil when gone
	hostKeys map[access.Scope]map[string]store.HostKey
}

func newRows(r *store.Reader) *rows {
	return &rows{
		from:     r,
		servers:  map[string]*store.Server{},
		keys:     map[string]*store.Key{},
		hostKeys: map[access.Scope]map[string]store.HostKey{},
	}
}

// preload takes in all servers and keys of a scope, for a list of it.
func (r *rows) preload(ctx context.Context, scope access.Scope) error {
	servers, err := r.from.Servers(ctx, scope, store.Page{})
	if err != nil {
		return err
	}
	for i := range servers {
		r.servers[servers[i].ID] = &servers[i]
	}
	keys, err := r.from.Keys(ctx, scope, store.Page{})
	if err != nil {
		return err
	}
	for i := range keys {
		r.keys[keys[i].ID] = &keys[i]
	}
	return nil
}

// of gives the server and key rows that a forward goes through, nil where it
// names none or what it names is gone.
func (r *rows) of(ctx context.Context, f *store.Forward) (*store.Server, *store.Key, error) {
	server, err := cached(ctx, r.servers, f.ServerID, r.from.Server)
	if err != nil || server == nil {
		return nil, nil, err
	}
	key, err := cached(ctx, r.keys, server.KeyID, r.from.Key)
	return server, key, err
}

func cached[R any](ctx context.Context, known map[string]*R, id string, get func(context.Context, string) (R, error)) (*R, error) {
	if id == "" {
		return nil, nil
	}
	if row, ok := known[id]; ok {
		return row, nil
	}
	row, err := get(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		known[id] = nil
	case err != nil:
		return nil, err
	default:
		known[id] = &row
	}
	return known[id], nil
}

// hostKey gives what is known of an address; all of the scope is read the first time.
func (r *rows) hostKey(ctx context.Context, scope access.Scope, address string) (store.HostKey, error) {
	known, ok := r.hostKeys[scope]
	if !ok {
		var err error
		if known, err = r.from.HostKeys(ctx, scope); err != nil {
			return store.HostKey{}, err
		}
		r.hostKeys[scope] = known
	}
	return known[address], nil
}

// addressOf is the address of a server as it is dialled.
func addressOf(s *store.Server) string {
	return net.JoinHostPort(bare(s.Host), strconv.Itoa(s.Port))
}
