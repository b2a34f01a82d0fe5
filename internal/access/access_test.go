package access

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

// The table of the contract once more, as it is written there: what a change
// of the rules must change in two places.
const contract = `
              self      owner     developer user      other     operator  read-token operate-token manage-token
list          yes       yes       yes       yes       403       404       yes        yes           yes
create        yes       yes       yes       403       403       404       403        403           yes
sync          yes       yes       yes       403       403       404       403        403           yes
read          yes       yes       yes       yes       404       404       yes        yes           yes
operate       yes       yes       yes       yes       404       404       403        yes           yes
edit          yes       yes       yes       403       404       404       403        403           yes
read-team     404       yes       yes       yes       404       404       404        404           404
manage        404       yes       403       403       404       404       404        404           404
leave         404       403       yes       yes       404       404       404        404           404
account       yes       404       404       404       403       404       403        403           403
read-audit    403       yes       403       403       403       yes       403        403           403
oversee       404       404       404       404       403       yes       404        404           404
administer    404       404       404       404       403       yes       404        404           404
`

var actions = map[string]Action{
	"list": List, "create": Create, "sync": Sync, "read": Read, "operate": Operate, "edit": Edit,
	"read-team": ReadTeam, "manage": Manage, "leave": Leave,
	"account": Account, "read-audit": ReadAudit, "oversee": Oversee, "administer": Administer,
}

var verdicts = map[string]Verdict{"yes": Allowed, "403": Forbidden, "404": Hidden}

func TestTheTableIsTheContracts(t *testing.T) {
	t.Parallel()
	lines := strings.Split(strings.TrimSpace(contract), "\n")
	who := strings.Fields(lines[0])
	asks := map[string]struct {
		actor Actor
		scope Scope
	}{
		"self":      {Actor{UserID: "ann"}, Personal("ann")},
		"owner":     {Actor{UserID: "ann", Teams: map[string]Role{"t": Owner}}, Team("t")},
		"developer": {Actor{UserID: "ann", Teams: map[string]Role{"t": Developer}}, Team("t")},
		"user":      {Actor{UserID: "ann", Teams: map[string]Role{"t": User}}, Team("t")},
		"other":     {Actor{UserID: "ann", Teams: map[string]Role{"other": Owner}}, Team("t")},
		"operator":  {Actor{UserID: "ann", Admin: true}, Installation()},

		"read-token":    {Actor{UserID: "ann", Grant: Grant{Level: LevelRead}}, Personal("ann")},
		"operate-token": {Actor{UserID: "ann", Grant: Grant{Level: LevelOperate}}, Personal("ann")},
		"manage-token":  {Actor{UserID: "ann", Grant: Grant{Level: LevelManage}}, Personal("ann")},
	}
	if len(lines)-1 != len(actions) || len(table) != len(actions) {
		t.Errorf("%d lines, %d actions, %d rules", len(lines)-1, len(actions), len(table))
	}
	for _, line := range lines[1:] {
		cells := strings.Fields(line)
		action, known := actions[cells[0]]
		if !known {
			t.Fatalf("no action %s", cells[0])
		}
		for i, w := range who {
			want, known := verdicts[cells[i+1]]
			if !known {
				t.Fatalf("no verdict %s", cells[i+1])
			}
			if got := May(asks[w].actor, action, asks[w].scope); got != want {
				t.Errorf("%s as %s: %v, want %s", cells[0], w, got, cells[i+1])
			}
		}
	}
}

func TestNoActionOpensAnotherPersonsRows(t *testing.T) {
	t.Parallel()
	strangers := map[string]Actor{
		"another":                     {UserID: "bob"},
		"an operator":                 {UserID: "bob", Admin: true},
		"one with a team of her name": {UserID: "bob", Teams: map[string]Role{"ann": Owner}},
		"an owner of much":            {UserID: "bob", Teams: map[string]Role{"t": Owner, "": Owner}},
		"nobody":                      {},
		"nobody in a team":            {Teams: map[string]Role{"ann": Owner, "t2": Owner, "": Owner}},
	}
	scopes := []Scope{Personal("ann"), Team("t2"), Team("bob"), {}, Personal(""), Team("")}
	for name, actor := range strangers {
		for do, action := range actions {
			for _, scope := range scopes {
				if got := May(actor, action, scope); got == Allowed {
					t.Errorf("%s may %s in %q", name, do, scope)
				}
			}
		}
	}
}

func TestATokenOfOneTeamOpensNothingElse(t *testing.T) {
	t.Parallel()
	ann := Actor{
		UserID: "ann", Admin: true, Teams: map[string]Role{"t": Owner, "t2": Owner},
		Grant: Grant{Level: LevelManage, Only: Team("t")},
	}
	for name, action := range actions {
		for _, scope := range []Scope{Personal("ann"), Team("t2"), Installation()} {
			if got := May(ann, action, scope); got == Allowed {
				t.Errorf("%s in %s", name, scope)
			}
		}
	}
	if May(ann, Edit, Team("t")) != Allowed || May(ann, Manage, Team("t")) != Allowed {
		t.Error("nor its own team")
	}
	if got := ann.Reach(); !reflect.DeepEqual(got, [][]Scope{{Team("t")}}) {
		t.Errorf("reach is %v", got)
	}
	ann.Grant.Only = Personal("ann")
	if got := ann.Reach(); !reflect.DeepEqual(got, [][]Scope{{Personal("ann")}}) {
		t.Errorf("reach is %v", got)
	}
}

func TestATokenOfAnUnknownLevelMayNothing(t *testing.T) {
	t.Parallel()
	ann := Actor{UserID: "ann", Admin: true, Teams: map[string]Role{"t": Owner}, Grant: Grant{Level: "more"}}
	for name, action := range actions {
		for _, scope := range []Scope{Personal("ann"), Team("t"), Installation()} {
			if got := May(ann, action, scope); got == Allowed {
				t.Errorf("%s in %s", name, scope)
			}
		}
	}
}

func TestWhatIsUnknownIsHidden(t *testing.T) {
	t.Parallel()
	ann := Actor{UserID: "ann", Teams: map[string]Role{"t": "emperor", "o": Owner}}
	for name, got := range map[string]Verdict{
		"no action":         May(ann, 0, Personal("ann")),
		"an unknown action": May(ann, 99, Team("o")),
		"an unknown role":   May(ann, Read, Team("t")),
	} {
		if got != Hidden {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestReachIsOnesOwnThenOnesTeams(t *testing.T) {
	t.Parallel()
	cases := []struct {
		actor Actor
		want  [][]Scope
	}{
		{Actor{}, nil},
		{Actor{Teams: map[string]Role{"t": Owner}}, nil},
		{Actor{UserID: "ann"}, [][]Scope{{Personal("ann")}}},
		{
			Actor{UserID: "ann", Teams: map[string]Role{"c": User, "a": Owner, "b": Developer, "d": "emperor", "": Owner}},
			[][]Scope{{Personal("ann")}, {Team("a"), Team("b"), Team("c")}},
		},
		{Actor{UserID: "ann", Teams: map[string]Role{"d": "emperor"}}, [][]Scope{{Personal("ann")}}},
	}
	for _, c := range cases {
		if got := c.actor.Reach(); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%+v: %v, want %v", c.actor, got, c.want)
		}
	}
}

func TestAScopeIsReadBackFromItsText(t *testing.T) {
	t.Parallel()
	for scope, text := range map[Scope]string{
		Personal("ann"): "u:ann", Team("t1"): "t:t1", Of("ann", ""): "u:ann", Of("ann", "t1"): "t:t1", Personal("t:x"): "u:t:x",
		Installation(): "s:adit",
	} {
		if scope.String() != text {
			t.Errorf("%v, want %s", scope, text)
		}
		if back, err := ParseScope(text); err != nil || back != scope {
			t.Errorf("%s: %v, %v", text, back, err)
		}
	}
	for _, text := range []string{"", "u", "u:", "t:", "s:", "s:other", "x:ann", "U:ann", "ann", ":ann", "ut:x"} {
		if scope, err := ParseScope(text); !errors.Is(err, ErrScope) || !scope.IsZero() {
			t.Errorf("%q: %v, %v", text, scope, err)
		}
	}
	if !Personal("").IsZero() || !Team("").IsZero() || Personal("").String() != "" {
		t.Error("a scope of nobody is somebody's")
	}
}

func TestAScopeKnowsWhoseItIs(t *testing.T) {
	t.Parallel()
	for scope, want := range map[Scope][2]string{Personal("x"): {"x", ""}, Team("x"): {"", "x"}, {}: {"", ""}} {
		if got := [2]string{scope.UserID(), scope.TeamID()}; got != want {
			t.Errorf("%v: %v, want %v", scope, got, want)
		}
	}
}
