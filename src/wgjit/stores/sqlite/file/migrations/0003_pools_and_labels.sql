-- Labels, the pools that addresses are given out from, and what a filtered listing walks along. No row of `peers` or
-- `addresses` grows, and a plain peer (enabled, without expiry and label) is in none of these.

CREATE TABLE labels (
    public_key BLOB NOT NULL CHECK (length(public_key) = 32),
    key        TEXT NOT NULL CHECK (key <> ''),
    value      TEXT NOT NULL CHECK (value <> ''),
    PRIMARY KEY (public_key, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX labels_by_value ON labels (key, value, public_key);

CREATE TRIGGER labels_of_peers BEFORE INSERT ON labels
WHEN NOT EXISTS (SELECT 1 FROM peers WHERE public_key = NEW.public_key)
BEGIN
    SELECT RAISE(ABORT, 'no peer with this key is registered');
END;

CREATE TRIGGER labels_key_fixed BEFORE UPDATE OF public_key ON labels BEGIN
    SELECT RAISE(ABORT, 'a label stays with its peer: remove it and add another');
END;

CREATE TRIGGER peers_labels_removed AFTER DELETE ON peers BEGIN
    DELETE FROM labels WHERE public_key = OLD.public_key;
END;

CREATE INDEX peers_by_expiry ON peers (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX peers_disabled ON peers (public_key) WHERE enabled = 0;

-- A pool is known from the first time on that a command with it in its configuration writes. Each of its addresses is
-- taken, or reserved, or in `freed`, or not before `next`; so giving one out never has to look for gaps.
CREATE TABLE pools (
    id    INTEGER PRIMARY KEY,
    first BLOB NOT NULL CHECK (length(first) IN (5, 17)), -- as in addresses: family, then the address
    last  BLOB NOT NULL CHECK (length(last) = length(first) AND last > first),
    next  BLOB,                                           -- nothing from here on was ever given out; NULL: no more
    UNIQUE (first, last)
) STRICT;

-- Addresses of a pool that lost their owner. Ones that were taken again may be here, too: who gives out looks.
CREATE TABLE freed (
    pool  INTEGER NOT NULL,
    first BLOB NOT NULL,
    last  BLOB NOT NULL,
    at    INTEGER NOT NULL, -- Unix seconds
    PRIMARY KEY (pool, first, last)
) STRICT, WITHOUT ROWID;

CREATE INDEX freed_by_time ON freed (pool, at);
CREATE INDEX freed_wide ON freed (pool, last) WHERE last > first;

CREATE TRIGGER addresses_freed AFTER DELETE ON addresses BEGIN
    INSERT INTO freed (pool, first, last, at)
    SELECT id, max(OLD.first, first), min(coalesce(OLD.last, OLD.first), last), CAST(strftime('%s', 'now') AS INTEGER)
    FROM pools WHERE first <= coalesce(OLD.last, OLD.first) AND last >= OLD.first
    ON CONFLICT (pool, first, last) DO UPDATE SET at = excluded.at;
END;
