-- What a token is, and the credentials that go with it, is in sealed: here
-- stands only what queries go by. reverse_id is, of a connector, the reverse
-- token that it ends with; NULL where that one is not stored.

CREATE TABLE relay_tokens (
	id            TEXT   NOT NULL PRIMARY KEY,
	kind          TEXT   NOT NULL CHECK (kind IN ('forward', 'reverse', 'connector')),
	reverse_id    TEXT   REFERENCES relay_tokens (id) ON DELETE CASCADE,
	sealed        BLOB   NOT NULL,
	created_at    BIGINT NOT NULL,
	owner_seen_at BIGINT
);
CREATE INDEX relay_tokens_reverse ON relay_tokens (reverse_id);
