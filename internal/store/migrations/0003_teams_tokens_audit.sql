-- What an API token is, only its holder knows: hash is the SHA-256 of it.
-- namespace is the one team that it is for; NULL for all that its user may do.

CREATE TABLE api_tokens (
	id           TEXT   NOT NULL PRIMARY KEY,
	user_id      TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	name         TEXT   NOT NULL,
	level        TEXT   NOT NULL CHECK (level IN ('read', 'operate', 'manage')),
	namespace    TEXT   REFERENCES teams (id) ON DELETE CASCADE,
	hash         BLOB   NOT NULL,
	created_at   BIGINT NOT NULL,
	expires_at   BIGINT NOT NULL,
	last_used_at BIGINT,
	UNIQUE (hash)
);
CREATE INDEX api_tokens_user ON api_tokens (user_id, created_at DESC, id DESC);
CREATE INDEX api_tokens_namespace ON api_tokens (namespace);

-- Who did what. It refers to nothing, since it outlives what it tells of.

CREATE TABLE audit (
	id        TEXT   NOT NULL PRIMARY KEY,
	at        BIGINT NOT NULL,
	scope     TEXT   NOT NULL, -- as in forwards, or 's:' and the installation
	actor_id  TEXT,
	actor     TEXT, -- his e-mail then
	token_id  TEXT, -- the API token that he used
	address   TEXT, -- of the client
	action    TEXT   NOT NULL,
	object_id TEXT,
	object    TEXT, -- its name then
	detail    TEXT, -- what it was made, or why; never a secret
	result    TEXT   NOT NULL, -- ok, or the code of the error
	request   TEXT
);
CREATE INDEX audit_list ON audit (at DESC, id DESC);
CREATE INDEX audit_scope ON audit (scope, at DESC, id DESC);

CREATE INDEX forwards_user ON forwards (user_id);
CREATE INDEX forwards_wanted ON forwards (wanted);
CREATE INDEX servers_user ON servers (user_id);
CREATE INDEX ssh_keys_user ON ssh_keys (user_id);
