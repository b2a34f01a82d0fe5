-- Instants are milliseconds since 1970 in UTC. Ids are UUIDs as text. A BLOB
-- that is called sealed was sealed for exactly that row and column.

CREATE TABLE users (
	id            TEXT    NOT NULL PRIMARY KEY,
	email         TEXT    NOT NULL,
	email_lower   TEXT    NOT NULL,
	username      TEXT    NOT NULL,
	password_hash TEXT    NOT NULL,
	role          TEXT    NOT NULL CHECK (role IN ('admin', 'user')),
	disabled      BOOLEAN NOT NULL,
	created_at    BIGINT  NOT NULL,
	updated_at    BIGINT  NOT NULL,
	UNIQUE (email_lower)
);

CREATE TABLE sessions (
	jti        TEXT   NOT NULL PRIMARY KEY,
	user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	created_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

CREATE TABLE signing_keys (
	kid        TEXT   NOT NULL PRIMARY KEY,
	sealed     BLOB   NOT NULL,
	created_at BIGINT NOT NULL
);

CREATE TABLE teams (
	id         TEXT   NOT NULL PRIMARY KEY,
	name       TEXT   NOT NULL,
	owner_id   TEXT   NOT NULL REFERENCES users (id),
	created_at BIGINT NOT NULL,
	updated_at BIGINT NOT NULL,
	UNIQUE (name)
);
CREATE INDEX teams_owner ON teams (owner_id);

CREATE TABLE team_members (
	id         TEXT   NOT NULL PRIMARY KEY,
	team_id    TEXT   NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
	user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
	role       TEXT   NOT NULL CHECK (role IN ('owner', 'developer', 'user')),
	created_at BIGINT NOT NULL,
	UNIQUE (team_id, user_id)
);
CREATE INDEX team_members_user ON team_members (user_id);

-- A team has one living code; a new one takes the place of the old.
CREATE TABLE invite_codes (
	code       TEXT   NOT NULL PRIMARY KEY,
	team_id    TEXT   NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
	created_at BIGINT NOT NULL,
	UNIQUE (team_id)
);

-- Three nouns of one shape. scope is 'u:' and the owner of a personal row, or
-- 't:' and the team: lists and localIds go by it alone. The index gives a list
-- in its order without a look at anybody else's rows.

CREATE TABLE ssh_keys (
	id          TEXT   NOT NULL PRIMARY KEY,
	local_id    TEXT,
	user_id     TEXT   NOT NULL REFERENCES users (id),
	namespace   TEXT   REFERENCES teams (id),
	scope       TEXT   NOT NULL,
	name        TEXT   NOT NULL,
	type        TEXT   NOT NULL,
	private_key BLOB, -- sealed
	passphrase  BLOB, -- sealed
	public_key  TEXT,
	fingerprint TEXT,
	description TEXT,
	created_at  BIGINT NOT NULL,
	updated_at  BIGINT NOT NULL,
	UNIQUE (scope, local_id),
	CHECK (scope = CASE WHEN namespace IS NULL THEN 'u:' || user_id ELSE 't:' || namespace END)
);
CREATE INDEX ssh_keys_list ON ssh_keys (scope, created_at DESC, id DESC);

CREATE TABLE servers (
	id              TEXT    NOT NULL PRIMARY KEY,
	local_id        TEXT,
	user_id         TEXT    NOT NULL REFERENCES users (id),
	namespace       TEXT    REFERENCES teams (id),
	scope           TEXT    NOT NULL,
	name            TEXT    NOT NULL,
	host            TEXT    NOT NULL,
	port            INTEGER NOT NULL,
	username        TEXT    NOT NULL,
	auth_type       TEXT    NOT NULL,
	password        BLOB, -- sealed
	key_ref         TEXT, -- as the client wrote it
	key_id          TEXT    REFERENCES ssh_keys (id) ON DELETE SET NULL,
	host_key_policy TEXT,
	description     TEXT,
	created_at      BIGINT  NOT NULL,
	updated_at      BIGINT  NOT NULL,
	UNIQUE (scope, local_id),
	CHECK (scope = CASE WHEN namespace IS NULL THEN 'u:' || user_id ELSE 't:' || namespace END)
);
CREATE INDEX servers_list ON servers (scope, created_at DESC, id DESC);
CREATE INDEX servers_key ON servers (key_id);

CREATE TABLE forwards (
	id              TEXT    NOT NULL PRIMARY KEY,
	local_id        TEXT,
	user_id         TEXT    NOT NULL REFERENCES users (id),
	namespace       TEXT    REFERENCES teams (id),
	scope           TEXT    NOT NULL,
	name            TEXT    NOT NULL,
	type            TEXT    NOT NULL CHECK (type IN ('local', 'remote', 'dynamic')),
	local_host      TEXT,
	local_port      INTEGER,
	remote_host     TEXT,
	remote_port     INTEGER,
	bind_address    TEXT,
	bind_port       INTEGER,
	server_ref      TEXT, -- as the client wrote it
	server_id       TEXT    REFERENCES servers (id) ON DELETE SET NULL,
	server_address  TEXT,
	username        TEXT,
	auth_type       TEXT,
	password        BLOB, -- sealed
	key_path        TEXT,
	key_content     BLOB, -- sealed
	passphrase      BLOB, -- sealed
	socks_username  TEXT,
	socks_password  BLOB, -- sealed
	host_key_policy TEXT,
	wanted          BOOLEAN NOT NULL,
	last_used_at    BIGINT,
	last_port       INTEGER,
	created_at      BIGINT  NOT NULL,
	updated_at      BIGINT  NOT NULL,
	UNIQUE (scope, local_id),
	CHECK (scope = CASE WHEN namespace IS NULL THEN 'u:' || user_id ELSE 't:' || namespace END)
);
CREATE INDEX forwards_list ON forwards (scope, created_at DESC, id DESC);
CREATE INDEX forwards_server ON forwards (server_id);

CREATE TABLE host_keys (
	scope       TEXT    NOT NULL,
	address     TEXT    NOT NULL,
	pinned_key  BLOB,
	pinned_at   BIGINT,
	announced   TEXT,
	connected   BOOLEAN NOT NULL,
	offered_key BLOB,
	offered_at  BIGINT,
	PRIMARY KEY (scope, address)
);

CREATE TABLE meta (
	name  TEXT NOT NULL PRIMARY KEY,
	value TEXT NOT NULL
);
