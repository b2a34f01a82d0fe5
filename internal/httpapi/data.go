package httpapi

import (
	"context"
	"net/http"

	"github.com/adit-tunnel/adit/api"
)

// registerData registers what gives all rows of a scope at once.
func (h *routes) registerData() {
	tag := tagged("data")
	handle(h, operation(http.MethodGet, "/data/personal", "get-personal-data", "All rows of one's own", tag), h.personalData)
	handle(h, operation(http.MethodGet, "/data/teams/{id}", "get-team-data", "A team and all rows of it", tag), h.teamData)
	handle(h, operation(http.MethodGet, "/teams/{id}/data", "get-team-data-2", "The same as GET /data/teams/{id}", tag), h.teamData)
	handle(h, operation(http.MethodGet, "/servers/personal/data", "get-personal-servers", "All servers of one's own", tag), h.personalServers)
}

func (h *routes) personalData(ctx context.Context, _ *none) (*answer[api.PersonalData], error) {
	return encode(h.app.PersonalData(ctx, callerFrom(ctx).Actor))
}

func (h *routes) teamData(ctx context.Context, in *ofTeam) (*answer[api.TeamData], error) {
	return encode(h.app.TeamData(ctx, callerFrom(ctx).Actor, in.ID))
}

func (h *routes) personalServers(ctx context.Context, _ *none) (*answer[api.PersonalServers], error) {
	return encode(h.app.PersonalServers(ctx, callerFrom(ctx).Actor))
}
