package httpapi_test

import (
	"slices"

	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/store"
)

// plan is how to try an operation.
type plan func(w *world, p persona) []attempt

func mine(p persona) []access.Scope { return []access.Scope{access.Personal(p.id)} }

func (w *world) scopes(p persona) []access.Scope {
	scopes := []access.Scope{access.Personal(w.loner.id), access.Personal(w.owner.id), access.Team(w.team.ID), access.Team(w.other.ID)}
	if p.id != "" && w.rows[access.Personal(p.id)] != nil && !slices.Contains(scopes, access.Personal(p.id)) {
		scopes = append(scopes, access.Personal(p.id))
	}
	return scopes
}

// open needs no token.
func open(body func(w *world) any) plan {
	return func(w *world, _ persona) []attempt {
		one := attempt{public: true}
		if body != nil {
			one.fresh = func(a *attempt, _ *person) { a.body = body(w) }
		}
		return []attempt{one}
	}
}

// onRow names rows by their ids or localIds; to look at them by both.
func onRow(noun string, do access.Action, body any, uses bool) plan {
	return func(w *world, p persona) (tries []attempt) {
		for nth, scope := range w.scopes(p) {
			row := w.rows[scope][noun]
			for i, name := range []string{row.id, row.localID} {
				if do != access.Read && i != nth%2 {
					continue
				}
				one := attempt{do: do, in: []access.Scope{scope}, id: name, body: body}
				if uses {
					one.fresh = func(a *attempt, _ *person) {
						row := w.addRow(noun, scope)
						a.id = []string{row.id, row.localID}[i]
					}
				}
				tries = append(tries, one)
			}
		}
		return append(tries, attempt{absent: true, id: newID(), body: body})
	}
}

// inNamespace names a scope.
func inNamespace(do access.Action, body func() any) plan {
	return func(w *world, p persona) (tries []attempt) {
		for _, team := range []string{"", w.team.ID, w.other.ID, newID()} {
			one := attempt{do: do, in: mine(p), query: "?namespace=" + team}
			if team != "" {
				one.in = []access.Scope{access.Team(team)}
			}
			if body != nil {
				one.body = body()
			}
			tries = append(tries, one)
		}
		return tries
	}
}

// inPersonal is about the caller himself.
func inPersonal(do access.Action, body any) plan {
	return func(_ *world, p persona) []attempt { return []attempt{{do: do, in: mine(p), body: body}} }
}

// onTeam names a team. more changes what is tried.
func onTeam(do access.Action, more func(w *world, p persona, a *attempt)) plan {
	return func(w *world, p persona) (tries []attempt) {
		for _, id := range []string{w.team.ID, w.other.ID, newID()} {
			one := attempt{do: do, in: []access.Scope{access.Team(id)}, id: id}
			if more != nil {
				more(w, p, &one)
			}
			tries = append(tries, one)
		}
		return tries
	}
}

func dissolve(w *world, p persona, a *attempt) {
	a.fresh = func(a *attempt, by *person) {
		team, _ := w.fixture.team(newID(), w.owner, nil)
		a.id = team.ID
		if !p.actor.Grant.Only.IsZero() {
			_, token := w.apiToken(p.id, "manage", team.ID)
			*by = by.with(token)
		}
	}
}

func invite(w *world, _ persona, a *attempt) {
	a.body = object{"userId": w.spare.id, "role": "user"}
	a.fresh = func(a *attempt, _ *person) { a.body = object{"email": w.account(newID()).email, "role": "developer"} }
}

// changeRole tries members, the owner, and a member of another team.
func changeRole(w *world, p persona) []attempt {
	in, body := []access.Scope{access.Team(w.team.ID)}, object{"role": "developer"}
	return []attempt{
		{do: access.Manage, in: in, id: w.team.ID, memberID: w.places[w.plain.id], body: body},
		{do: access.Manage, in: in, cap: access.Forbidden, id: w.team.ID, memberID: w.places[w.owner.id], body: body},
		{do: access.Manage, in: in, cap: hidden, id: w.team.ID, memberID: w.otherPlaces[w.owner.id], body: body},
		{do: access.Manage, in: []access.Scope{access.Team(w.other.ID)}, cap: hidden, id: w.other.ID, memberID: w.places[w.plain.id], body: body},
	}
}

func removeMember(w *world, p persona) []attempt {
	tries := changeRole(w, p)
	for i := range tries {
		tries[i].body, tries[i].absent = nil, tries[i].cap == hidden
	}
	tries[0].fresh = func(a *attempt, _ *person) { a.memberID = w.joins(w.team.ID, w.account(newID()).id, access.User) }
	if place := w.places[p.id]; place != "" && p.actor != nil {
		tries = append(tries, attempt{
			do: access.Leave, in: tries[0].in, id: w.team.ID, memberID: place,
			after: func(answer) { w.places[p.id] = w.joins(w.team.ID, p.id, p.actor.Teams[w.team.ID]) },
		})
	}
	return tries
}

func join(w *world, p persona) []attempt {
	return []attempt{{
		do: access.Create, in: mine(p), body: object{"inviteCode": w.third.InviteCode},
		after: func(got answer) {
			m := store.Membership{ID: got.is(201)["id"].(string), TeamID: w.third.ID, UserID: p.id}
			w.write(func(tx *store.Tx) error { return tx.RemoveMember(w.t.Context(), m) })
		},
	}}
}

func deleteToken(w *world, p persona) []attempt {
	return []attempt{
		{do: access.Account, in: mine(p), id: w.tokens[w.owner.id], fresh: func(a *attempt, _ *person) { a.id, _ = w.apiToken(p.id, "read", "") }},
		{do: access.Account, in: mine(p), cap: hidden, id: w.tokens[w.spare.id]},
	}
}

func logout(_ *world, p persona) []attempt {
	return []attempt{{fresh: func(_ *attempt, by *person) { *by = p.again() }}}
}

// overall is about the installation.
func overall(do access.Action, body any) plan {
	return func(w *world, _ persona) []attempt {
		return []attempt{{do: do, in: []access.Scope{access.Installation()}, id: w.spare.id, body: body}}
	}
}

func audit(w *world, _ persona) []attempt {
	all := access.Installation()
	return []attempt{
		{do: access.ReadAudit, in: []access.Scope{all}},
		{do: access.ReadAudit, in: []access.Scope{all, access.Team(w.team.ID)}, query: "?namespace=" + w.team.ID},
		{do: access.ReadAudit, in: []access.Scope{all, access.Team(w.other.ID)}, query: "?namespace=" + w.other.ID},
	}
}

func newServerBody() any { return with(fullServer(), object{"localId": newID()}) }
func newKeyBody() any {
	return object{"localId": newID(), "name": "k", "type": "password", "password": "for-the-walk"}
}
func newForwardBody() any { return object{"localId": newID(), "name": "f", "type": "local"} }
func listOf(body func() any) func() any {
	return func() any { return []any{body()} }
}

var anyHostKey = object{"fingerprint": "SHA256:0000000000000000000000000000000000000000000"}

// plans has every operation of the API.
var plans = map[string]plan{
	"health": open(nil), "get-openapi": open(nil), "get-docs": open(nil),
	"register": open(func(w *world) any {
		return object{"email": newID() + "@example.com", "username": "newcomer", "password": password, "inviteCode": w.third.InviteCode}
	}),
	"login": open(func(w *world) any { return object{"email": w.spare.email, "password": password} }),

	"validate":        inPersonal(0, nil),
	"logout":          logout,
	"change-password": inPersonal(access.Account, object{"currentPassword": "not-his-password", "newPassword": "another-long-one"}),
	"list-tokens":     inPersonal(access.Account, nil),
	"create-token":    inPersonal(access.Account, object{"name": "t", "scope": "read"}),
	"delete-token":    deleteToken,

	"list-servers":           inNamespace(access.List, nil),
	"create-server":          inNamespace(access.Create, newServerBody),
	"sync-servers":           inNamespace(access.Sync, listOf(newServerBody)),
	"get-server":             onRow("servers", access.Read, nil, false),
	"update-server":          onRow("servers", access.Edit, object{"name": "changed"}, false),
	"delete-server":          onRow("servers", access.Edit, nil, true),
	"accept-server-host-key": onRow("servers", access.Edit, anyHostKey, false),
	"forget-server-host-key": onRow("servers", access.Edit, nil, false),

	"list-keys":  inNamespace(access.List, nil),
	"create-key": inNamespace(access.Create, newKeyBody),
	"sync-keys":  inNamespace(access.Sync, listOf(newKeyBody)),
	"get-key":    onRow("keys", access.Read, nil, false),
	"update-key": onRow("keys", access.Edit, object{"name": "changed"}, false),
	"delete-key": onRow("keys", access.Edit, nil, true),

	"list-port-forwards":           inNamespace(access.List, nil),
	"create-port-forward":          inNamespace(access.Create, newForwardBody),
	"sync-port-forwards":           inNamespace(access.Sync, listOf(newForwardBody)),
	"get-port-forward":             onRow("port-forwards", access.Read, nil, false),
	"get-port-forward-status":      onRow("port-forwards", access.Read, nil, false),
	"update-port-forward":          onRow("port-forwards", access.Edit, object{"name": "changed"}, false),
	"delete-port-forward":          onRow("port-forwards", access.Edit, nil, true),
	"start-port-forward":           onRow("port-forwards", access.Operate, nil, false),
	"stop-port-forward":            onRow("port-forwards", access.Operate, nil, false),
	"accept-port-forward-host-key": onRow("port-forwards", access.Edit, anyHostKey, false),
	"forget-port-forward-host-key": onRow("port-forwards", access.Edit, nil, false),

	"create-team": func(_ *world, p persona) []attempt {
		return []attempt{{do: access.Create, in: mine(p), body: object{"name": newID()}}}
	},
	"list-teams":         inPersonal(0, nil),
	"join-team":          join,
	"get-team":           onTeam(access.ReadTeam, nil),
	"list-members":       onTeam(access.ReadTeam, nil),
	"dissolve-team":      onTeam(access.Manage, dissolve),
	"dissolve-team-2":    onTeam(access.Manage, dissolve),
	"rotate-invite-code": onTeam(access.Manage, nil),
	"add-member":         onTeam(access.Manage, invite),
	"add-member-2":       onTeam(access.Manage, invite),
	"set-member-role":    changeRole,
	"set-member-role-2":  changeRole,
	"remove-member":      removeMember,

	"get-personal-data":    inPersonal(access.List, nil),
	"get-personal-servers": inPersonal(access.List, nil),
	"get-team-data":        onTeam(access.ReadTeam, nil),
	"get-team-data-2":      onTeam(access.ReadTeam, nil),

	"list-users":   overall(access.Oversee, nil),
	"update-user":  overall(access.Administer, object{"disabled": false}),
	"get-settings": overall(access.Oversee, nil),
	"set-settings": overall(access.Administer, object{}),
	"list-audit":   audit,
}
