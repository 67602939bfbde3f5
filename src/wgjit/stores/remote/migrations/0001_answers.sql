-- What a registry elsewhere has answered, and the claims of its peers. docs/REMOTE.md
--
-- No rule about addresses: the service may move one from peer to peer, and tells of the two one after the other.

PRAGMA application_id = 0x77676a63; -- "wgjc"

CREATE TABLE answers (
    public_key    BLOB NOT NULL PRIMARY KEY CHECK (length(public_key) = 32),
    is_peer       INTEGER NOT NULL CHECK (is_peer IN (0, 1)), -- 0: it was one, and the service has taken it away
    allowed_ips   BLOB NOT NULL DEFAULT x'',                  -- this and what follows as in a registry's peers
    preshared_key BLOB CHECK (length(preshared_key) = 32),
    keepalive     INTEGER NOT NULL DEFAULT 0 CHECK (keepalive BETWEEN 0 AND 65535),
    enabled       INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    expires_at    INTEGER,
    name          TEXT,
    idle_timeout  INTEGER,
    etag          TEXT,
    asked_at      REAL NOT NULL,                              -- Unix seconds, when the question was sent
    lives         REAL NOT NULL CHECK (lives >= 0),           -- seconds
    is_valid      INTEGER NOT NULL CHECK (is_valid IN (0, 1)), -- 0: an event said that it changed since
    used_at       INTEGER NOT NULL                            -- Unix seconds, to the hour
) STRICT, WITHOUT ROWID;

CREATE INDEX answers_by_use ON answers (used_at);

-- Apart from the answers: these are the protection against replays, and outlive what is forgotten above.
CREATE TABLE claims (
    public_key BLOB NOT NULL PRIMARY KEY CHECK (length(public_key) = 32),
    timestamp  BLOB NOT NULL CHECK (length(timestamp) = 12),
    gateway    TEXT NOT NULL,
    endpoint   BLOB NOT NULL CHECK (length(endpoint) IN (6, 18, 22)),
    proven_at  REAL NOT NULL
) STRICT, WITHOUT ROWID;

-- Whose answers these are, and up to where the service's events were heard.
CREATE TABLE marks (
    what  TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
