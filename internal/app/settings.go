package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/audit"
	"github.com/adit-tunnel/adit/internal/policy"
	"github.com/adit-tunnel/adit/internal/store"
)

// settingsName is where the settings are kept, as JSON.
const settingsName = "settings"

// settings reads what operators have set; nothing when they have not.
func settings(ctx context.Context, r *store.Reader) (set api.Settings, err error) {
	value, err := r.Meta(ctx, settingsName)
	if errors.Is(err, store.ErrNotFound) {
		return set, nil
	}
	if err == nil {
		err = json.Unmarshal([]byte(value), &set)
	}
	if err != nil {
		err = fmt.Errorf("read settings: %w", err)
	}
	return set, err
}

// Settings gives what operators have set.
func (a *App) Settings(ctx context.Context, who access.Actor) (api.Settings, error) {
	if err := mayOperate(ctx, who, access.Oversee); err != nil {
		return api.Settings{}, err
	}
	return settings(ctx, &a.Store.Reader)
}

// SetSettings replaces all settings. They hold from then on: limits for what is
// made and started next, destinations for every connection that is made next.
func (a *App) SetSettings(ctx context.Context, who access.Actor, in api.Settings) (api.Settings, error) {
	if err := mayOperate(ctx, who, access.Administer); err != nil {
		return api.Settings{}, err
	}
	if problems := slices.Concat(ruleProblems("allowedBinds", in.AllowedBinds), ruleProblems("allowedDestinations", in.AllowedDestinations)); problems != nil {
		return api.Settings{}, api.Invalid(problems...)
	}
	// No rule at all is no limit, and is shown as such.
	for _, rules := range []*api.Opt[[]string]{&in.AllowedBinds, &in.AllowedDestinations} {
		if list, _ := rules.Get(); len(list) == 0 {
			*rules = api.Null[[]string]()
		}
	}
	value, err := json.Marshal(in)
	if err != nil {
		return api.Settings{}, fmt.Errorf("write settings: %w", err)
	}
	a.setting.Lock() // so that what holds is what was saved last
	defer a.setting.Unlock()
	err = a.change(ctx, func(tx *store.Tx) error {
		before, _ := settings(ctx, &tx.Reader) // what cannot be read is replaced
		audit.Of(ctx).Says(settingChanges(before, in))
		return tx.SetMeta(ctx, settingsName, string(value))
	})
	if err != nil {
		return api.Settings{}, err
	}
	return in, a.enforce(in)
}

// ruleProblems says which of a setting's rules are none.
func ruleProblems(name string, rules api.Opt[[]string]) (problems []string) {
	list, _ := rules.Get()
	for _, rule := range list {
		if _, err := policy.ParseRule(rule); err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", name, err))
		}
	}
	return problems
}

// LoadSettings makes the settings hold; call it before anything runs.
func (a *App) LoadSettings(ctx context.Context) error {
	set, err := settings(ctx, &a.Store.Reader)
	if err != nil {
		return err
	}
	return a.enforce(set)
}

// enforce hands on what the data plane is to keep to.
func (a *App) enforce(set api.Settings) error {
	binds, _ := set.AllowedBinds.Get()
	targets, _ := set.AllowedDestinations.Get()
	if a.Binds != nil {
		if err := a.Binds.SetLimit(binds); err != nil {
			return err
		}
	}
	if a.Targets != nil {
		if err := a.Targets.SetLimit(targets); err != nil {
			return err
		}
	}
	return nil
}

// openness orders the values of registration, the narrowest first.
var openness = []string{api.RegistrationClosed, api.RegistrationInvite, api.RegistrationOpen}

// registration is who may register: as the operator of the process says, or
// less, as a setting says.
func (a *App) registration(set api.Settings) string {
	mode := a.Registration
	if narrower, ok := set.Registration.Get(); ok && slices.Index(openness, narrower) < slices.Index(openness, mode) {
		mode = narrower
	}
	return mode
}

// forwardsLeft tells how many more forwards a user may make. full is the refusal
// of one more; nil when there is no limit.
func (a *App) forwardsLeft(ctx context.Context, r *store.Reader, who access.Actor) (left int, full *api.Error, err error) {
	set, err := settings(ctx, r)
	if err != nil {
		return 0, nil, err
	}
	limit, ok := set.MaxForwardsPerUser.Get()
	if !ok {
		return 0, nil, nil
	}
	has, err := r.CountForwardsBy(ctx, who.UserID)
	return limit - has, &api.Error{
		Code:    api.CodeLimitReached,
		Message: fmt.Sprintf("The limit maxForwardsPerUser of this server is reached: %d port forwards a user", limit),
		Hint:    "delete some, or ask an operator for more",
	}, err
}

// roomFor refuses more forwards than a user may make.
func (a *App) roomFor(ctx context.Context, r *store.Reader, who access.Actor, n int) error {
	left, full, err := a.forwardsLeft(ctx, r, who)
	if err == nil && full != nil && left < n {
		return full
	}
	return err
}

// mayRun refuses one more forward that runs than the limits allow. One that is
// wanted already counts as it is.
func (a *App) mayRun(ctx context.Context, r *store.Reader, f *store.Forward) error {
	if f.Wanted {
		return nil
	}
	set, err := settings(ctx, r)
	if err != nil {
		return err
	}
	if limit, ok := set.MaxActive.Get(); ok {
		n, err := r.CountWanted(ctx, "")
		if err != nil {
			return err
		}
		if n >= limit {
			return tooManyActive("maxActive", fmt.Sprintf("%d active port forwards on this server", limit))
		}
	}
	if limit, ok := set.MaxActivePerUser.Get(); ok {
		n, err := r.CountWanted(ctx, f.UserID)
		if err != nil {
			return err
		}
		if n >= limit {
			return tooManyActive("maxActivePerUser", fmt.Sprintf("%d active port forwards a user", limit))
		}
	}
	return nil
}

func tooManyActive(name, what string) error {
	return &api.Error{
		Code: api.CodeTooManyActive, Message: fmt.Sprintf("The limit %s is reached: %s", name, what), Hint: "stop others first, or ask an operator for more",
	}
}

// settingChanges names the settings that differ, with what they are made.
func settingChanges(before, after api.Settings) string {
	var said []string
	b, a := reflect.ValueOf(before), reflect.ValueOf(after)
	for _, field := range reflect.VisibleFields(b.Type()) {
		was, err1 := json.Marshal(b.FieldByIndex(field.Index).Interface())
		is, err2 := json.Marshal(a.FieldByIndex(field.Index).Interface())
		if err1 == nil && err2 == nil && string(was) != string(is) {
			said = append(said, field.Tag.Get("json")+": "+string(is))
		}
	}
	return strings.Join(said, ", ")
}
