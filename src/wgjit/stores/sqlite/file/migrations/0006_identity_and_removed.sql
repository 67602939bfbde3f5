-- Which registry a file is, and who was removed from it. No row of `peers` or `addresses` grows.

-- What the file itself is. A copy is the same registry; a file that is made anew is another.
CREATE TABLE meta (
    what  TEXT NOT NULL PRIMARY KEY CHECK (what <> ''),
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO meta (what, value) VALUES ('identity', randomblob(16));

-- Keys that were removed. One that is registered again may be here, too: a registration counts before this.
CREATE TABLE removed (
    public_key BLOB NOT NULL PRIMARY KEY CHECK (length(public_key) = 32),
    at         INTEGER NOT NULL -- Unix seconds
) STRICT, WITHOUT ROWID;

INSERT INTO removed (public_key, at)
    SELECT public_key, max(at) FROM changes AS c
    WHERE kind = 'removed' AND NOT EXISTS (SELECT 1 FROM peers AS p WHERE p.public_key = c.public_key)
    GROUP BY public_key;

-- NULL: `timestamp` was proven. Else it was inferred from the device's last handshake, and this is the greatest that was
-- proven; twelve zeros: none was.
ALTER TABLE claims ADD COLUMN proven BLOB CHECK (length(proven) = 12 AND proven <= timestamp);

-- As in version 1, but that the claim stays: a recording from before would count as new once the key is added again.
DROP TRIGGER peers_removed;
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
    INSERT INTO removed (public_key, at) VALUES (OLD.public_key, CAST(strftime('%s', 'now') AS INTEGER))
        ON CONFLICT (public_key) DO UPDATE SET at = excluded.at;
    INSERT INTO changes (kind, public_key) VALUES ('removed', OLD.public_key);
END;
