package httpapi

import (
	"context"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/adit-tunnel/adit/api"
	"github.com/adit-tunnel/adit/internal/access"
	"github.com/adit-tunnel/adit/internal/app"
	"github.com/adit-tunnel/adit/internal/httpapi/strictjson"
)

// handleSync registers a sync of rows that are asked for as In and shown as Out.
func handleSync[In, Out any](h *routes, op huma.Operation,
	sync func(ctx context.Context, who access.Actor, namespace string, items []app.SyncItem[In]) (api.Synced[Out], error),
) {
	op.MaxBodyBytes = api.MaxSyncBody
	handle(h, op, func(ctx context.Context, in *InNamespace) (*answer[api.Synced[Out]], error) {
		raw, err := strictjson.Array(requestFrom(ctx).body, api.MaxSync)
		if err != nil {
			return nil, err
		}
		items := make([]app.SyncItem[In], len(raw))
		for i := range raw {
			items[i].Err = strictjson.Item(raw[i], strictjson.Whole, &items[i].Input)
		}
		return encode(sync(ctx, callerFrom(ctx).Actor, in.Namespace, items))
	})
	limit := api.MaxSync
	h.describe(&huma.Schema{Type: huma.TypeArray, Items: h.schema(reflect.TypeFor[In]()), MaxItems: &limit})
}
