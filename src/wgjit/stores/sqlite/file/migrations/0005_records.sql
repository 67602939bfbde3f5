-- Who changed what, who may ask the HTTP API, and what it answered. No row of `peers` or `addresses` grows, and nothing
-- reads them here, so the time it takes does not depend on their number.

-- Without a foreign key: a removed peer's entries stay.
CREATE TABLE audit (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,        -- in the order of writing; never comes again
    at         REAL NOT NULL,                            -- Unix seconds by the writer's clock
    actor      TEXT NOT NULL CHECK (actor <> ''),
    verb       TEXT NOT NULL CHECK (verb <> ''),
    public_key BLOB CHECK (length(public_key) = 32),     -- NULL: about no single peer
    old_key    BLOB CHECK (length(old_key) = 32),        -- of a rotation: the key that went
    name       TEXT,                                     -- of the peer or token, as it was called
    details    TEXT NOT NULL                             -- a JSON object; never a secret
) STRICT;

CREATE INDEX audit_by_key ON audit (public_key) WHERE public_key IS NOT NULL;
CREATE INDEX audit_by_old_key ON audit (old_key) WHERE old_key IS NOT NULL;
CREATE INDEX audit_by_time ON audit (at);

CREATE TRIGGER audit_fixed BEFORE UPDATE ON audit BEGIN
    SELECT RAISE(ABORT, 'an entry of the audit log does not change');
END;

-- A revoked token keeps its row and so its name: an actor in the audit log means one token for ever.
CREATE TABLE tokens (
    id           TEXT NOT NULL PRIMARY KEY CHECK (length(id) = 8), -- the public part of the token's text
    name         TEXT NOT NULL UNIQUE CHECK (name <> ''),
    hash         BLOB NOT NULL CHECK (length(hash) = 32),          -- SHA-256 of the 32 secret bytes
    scope        TEXT NOT NULL CHECK (scope IN ('read', 'write', 'admin', 'gateway')),
    rate         REAL CHECK (rate > 0),                            -- requests a second; NULL: the configured one
    created_at   REAL NOT NULL,                                    -- these four in Unix seconds
    expires_at   REAL,
    last_used_at REAL,
    revoked_at   REAL
) STRICT, WITHOUT ROWID;

-- Answers that are given again to a request that is sent again. The body has no private key in it.
CREATE TABLE idempotency (
    actor       TEXT NOT NULL,
    key         TEXT NOT NULL CHECK (key <> ''),
    fingerprint BLOB NOT NULL CHECK (length(fingerprint) = 32), -- SHA-256 of method, path and body
    status      INTEGER NOT NULL,                               -- of HTTP
    body        BLOB NOT NULL,
    at          REAL NOT NULL,                                  -- Unix seconds
    PRIMARY KEY (actor, key)
) STRICT;

CREATE INDEX idempotency_by_time ON idempotency (at);
