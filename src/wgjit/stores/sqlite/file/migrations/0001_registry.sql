-- The registry: peers, their addresses, their claims, and the log of changes. Layout and figures: docs/REGISTRY.md
--
-- Rules that hold whoever writes, also the sqlite3 shell:
--   two peers never own overlapping addresses; a public key never changes;
--   a removed peer takes its addresses and its claim along; every update and removal is in the change log.

PRAGMA application_id = 0x77676a74; -- "wgjt"

CREATE TABLE peers (
    public_key    BLOB NOT NULL PRIMARY KEY CHECK (length(public_key) = 32),
    -- one entry a prefix: family (4 or 6), network address (4 or 16 bytes), prefix length (1 byte)
    allowed_ips   BLOB NOT NULL DEFAULT x'',
    preshared_key BLOB CHECK (length(preshared_key) = 32),
    keepalive     INTEGER NOT NULL DEFAULT 0 CHECK (keepalive BETWEEN 0 AND 65535), -- seconds, 0 is off
    enabled       INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    expires_at    INTEGER,                                                          -- Unix seconds
    name          TEXT CHECK (name <> '')
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX peers_by_name ON peers (name) WHERE name IS NOT NULL;

-- One row a prefix, disjoint. Therefore the one that could overlap a range is the last that starts at or before its end.
CREATE TABLE addresses (
    first      BLOB NOT NULL PRIMARY KEY CHECK (length(first) IN (5, 17)), -- family, then the first address
    last       BLOB CHECK (length(last) = length(first) AND last > first), -- the last one; NULL: a single address
    public_key BLOB NOT NULL CHECK (length(public_key) = 32)
) STRICT, WITHOUT ROWID;

CREATE TABLE claims (
    public_key BLOB NOT NULL PRIMARY KEY CHECK (length(public_key) = 32),
    timestamp  BLOB NOT NULL CHECK (length(timestamp) = 12),               -- TAI64N: compares as bytes do
    gateway    TEXT NOT NULL,
    endpoint   BLOB NOT NULL CHECK (length(endpoint) IN (6, 18, 22)),      -- address, port, scope if there is one
    proven_at  REAL NOT NULL                                               -- Unix seconds
) STRICT, WITHOUT ROWID;

CREATE TABLE changes (
    sequence   INTEGER PRIMARY KEY AUTOINCREMENT, -- grows also when all rows are gone
    kind       TEXT NOT NULL CHECK (kind IN ('updated', 'removed')),
    public_key BLOB NOT NULL CHECK (length(public_key) = 32),
    at         INTEGER NOT NULL DEFAULT (CAST(strftime('%s', 'now') AS INTEGER)) -- Unix seconds
) STRICT;

CREATE TRIGGER changes_bounded AFTER INSERT ON changes BEGIN
    DELETE FROM changes WHERE sequence <= NEW.sequence - 100000;
END;

CREATE TRIGGER addresses_disjoint BEFORE INSERT ON addresses
WHEN (SELECT coalesce(last, first) FROM addresses
      WHERE first <= coalesce(NEW.last, NEW.first) ORDER BY first DESC LIMIT 1) >= NEW.first
BEGIN
    SELECT RAISE(ABORT, 'the address belongs to a peer already');
END;

CREATE TRIGGER addresses_fixed BEFORE UPDATE ON addresses BEGIN
    SELECT RAISE(ABORT, 'an address row does not change: remove it and add another');
END;

-- REPLACE removes rows without firing a delete trigger: the change would be in no log.
CREATE TRIGGER peers_not_replaced BEFORE INSERT ON peers
WHEN EXISTS (SELECT 1 FROM peers WHERE public_key = NEW.public_key)
  OR (NEW.name IS NOT NULL AND EXISTS (SELECT 1 FROM peers WHERE name = NEW.name))
BEGIN
    SELECT RAISE(ABORT, 'a peer with this key or name is registered already: use UPDATE');
END;

CREATE TRIGGER peers_key_fixed BEFORE UPDATE OF public_key ON peers WHEN OLD.public_key IS NOT NEW.public_key BEGIN
    SELECT RAISE(ABORT, 'a public key does not change: remove the peer and add another');
END;

CREATE TRIGGER peers_updated AFTER UPDATE ON peers BEGIN
    INSERT INTO changes (kind, public_key) VALUES ('updated', NEW.public_key);
END;

CREATE TRIGGER peers_readdressed AFTER UPDATE OF allowed_ips ON peers WHEN OLD.allowed_ips IS NOT NEW.allowed_ips BEGIN
    DELETE FROM addresses WHERE public_key = OLD.public_key AND first IN (
        WITH RECURSIVE entry (start, size) AS (
            SELECT 1, iif(substr(OLD.allowed_ips, 1, 1) = x'04', 5, 17)
            UNION ALL
            SELECT start + size + 1, iif(substr(OLD.allowed_ips, start + size + 1, 1) = x'04', 5, 17)
            FROM entry WHERE start + size < length(OLD.allowed_ips)
        )
        SELECT substr(OLD.allowed_ips, start, size) FROM entry
    );
END;

CREATE TRIGGER peers_removed AFTER DELETE ON peers BEGIN
    DELETE FROM addresses WHERE public_key = OLD.public_key AND first IN (
        WITH RECURSIVE entry (start, size) AS (
            SELECT 1, iif(substr(OLD.allowed_ips, 1, 1) = x'04', 5, 17)
            UNION ALL
            SELECT start + size + 1, iif(substr(OLD.allowed_ips, start + size + 1, 1) = x'04', 5, 17)
            FROM entry WHERE start + size < length(OLD.allowed_ips)
        )
        SELECT substr(OLD.allowed_ips, start, size) FROM entry
    );
    DELETE FROM claims WHERE public_key = OLD.public_key;
    INSERT INTO changes (kind, public_key) VALUES ('removed', OLD.public_key);
END;

-- A claim that an operator resets is news for the gateway that remembers it. (With the peer gone, 'removed' says it.)
CREATE TRIGGER claims_reset AFTER DELETE ON claims
WHEN EXISTS (SELECT 1 FROM peers WHERE public_key = OLD.public_key)
BEGIN
    INSERT INTO changes (kind, public_key) VALUES ('updated', OLD.public_key);
END;
