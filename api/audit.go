package api

// ResultOK is the result of what was done; any other is the code of an error.
const ResultOK = "ok"

// AuditEntry is one thing that somebody did, or tried.
type AuditEntry struct {
	ID        string  `json:"id"`
	At        Time    `json:"at"`
	Action    string  `json:"action" doc:"the operation's id in the OpenAPI document"`
	Result    string  `json:"result" doc:"ok, or the code of the error"`
	ActorID   *string `json:"actorId" doc:"null when nobody was logged in"`
	Actor     *string `json:"actor" doc:"e-mail, as it was then"`
	TokenID   *string `json:"tokenId" doc:"the API token that was used"`
	Address   *string `json:"address" doc:"the client's"`
	Namespace *string `json:"namespace" doc:"the team whose object it is"`
	ObjectID  *string `json:"objectId"`
	Object    *string `json:"object" doc:"its name then"`
	Detail    *string `json:"detail" doc:"what it was made, the fields that changed, or why; never a secret"`
	RequestID *string `json:"requestId"`
}

// DefaultAuditPage is how many entries GET /audit gives if no limit is asked for.
const DefaultAuditPage = 100
