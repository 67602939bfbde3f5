-- The registry of record: peers, their addresses, their claims, and the log of changes.
--
-- Rules that hold whoever writes, also psql:
--   a key and a name belong to one peer; two peers never own overlapping addresses, also if many programs write at once;
--   a public key never changes; a removed peer leaves its claim and a row in `removed`; claims only grow;
--   every update and removal is in the change log; every addition is found by the transaction that wrote it.
--
-- Write `peers`, `labels` and `claims`. Triggers keep `addresses`, `removed`, `changes`, `tallies` and `freed`.
--
-- Functions have no JIT: their statements touch few rows, and the server took 0.2 s to compile one whose rows it had
-- guessed too high.
--
-- Readers that follow the registry
--   `peers.written` and `changes.xid` are the number of the writing transaction. A reader keeps the snapshot of its last
--   poll, `pg_current_snapshot()`, and asks for all rows whose transaction is not visible in that snapshot:
--       WHERE written >= pg_snapshot_xmin(:last) AND NOT pg_visible_in_snapshot(written, :last)
--   So it misses no row of a transaction that commits late, and waits for none that is long. On a hot standby a snapshot
--   does not name the running transactions; there a reader keeps xmin alone ('XMIN:XMIN:') and gets some rows twice.
--   `changes.sequence` is given at commit under one lock: its order is the order of commits, and it has no holes.

CREATE TABLE wgjit.meta (
    what  text PRIMARY KEY CHECK (what <> ''),
    value bytea NOT NULL
);

INSERT INTO wgjit.meta (what, value) VALUES ('identity', uuid_send(gen_random_uuid()));

-- Texts are compared by bytes ("C"), so that the order of a listing is the same on every server.
CREATE TABLE wgjit.peers (
    public_key    bytea NOT NULL PRIMARY KEY CHECK (octet_length(public_key) = 32),
    allowed_ips   cidr[] NOT NULL DEFAULT '{}'
        CHECK (coalesce(array_ndims(allowed_ips), 1) = 1 AND array_position(allowed_ips, NULL) IS NULL),
    preshared_key bytea CHECK (octet_length(preshared_key) = 32),
    keepalive     integer NOT NULL DEFAULT 0 CHECK (keepalive BETWEEN 0 AND 65535),       -- seconds, 0 is off
    enabled       boolean NOT NULL DEFAULT true,
    expires_at    bigint,                                                                 -- Unix seconds
    name          text COLLATE "C" CHECK (name <> ''),
    idle_timeout  integer CHECK (idle_timeout = 0 OR idle_timeout BETWEEN 180 AND 315360000), -- seconds, 0 is never
    written       xid8 NOT NULL DEFAULT pg_current_xact_id()
);

CREATE UNIQUE INDEX peers_by_name ON wgjit.peers (name) WHERE name IS NOT NULL;
CREATE INDEX peers_by_expiry ON wgjit.peers (expires_at, public_key) WHERE expires_at IS NOT NULL;
CREATE INDEX peers_disabled ON wgjit.peers (public_key) WHERE NOT enabled;
CREATE INDEX peers_by_writing ON wgjit.peers (written);

-- One row a prefix of `peers.allowed_ips`. 0002 says how they are kept disjoint.
CREATE TABLE wgjit.addresses (
    prefix     cidr NOT NULL CONSTRAINT addresses_once PRIMARY KEY,
    public_key bytea NOT NULL
);

CREATE TABLE wgjit.labels (
    public_key bytea NOT NULL REFERENCES wgjit.peers ON DELETE CASCADE,
    key        text COLLATE "C" NOT NULL CHECK (key <> ''),
    value      text COLLATE "C" NOT NULL CHECK (value <> ''),
    PRIMARY KEY (public_key, key)
);

CREATE INDEX labels_by_value ON wgjit.labels (key, value, public_key);

CREATE TABLE wgjit.claims (
    public_key bytea NOT NULL PRIMARY KEY CHECK (octet_length(public_key) = 32),
    timestamp  bytea NOT NULL CHECK (octet_length(timestamp) = 12),             -- TAI64N: compares as bytes do
    gateway    text NOT NULL,
    endpoint   bytea NOT NULL CHECK (octet_length(endpoint) IN (6, 18, 22)),    -- address, port, scope if there is one
    proven_at  double precision NOT NULL,                                       -- Unix seconds
    -- NULL: `timestamp` was proven. Otherwise it was inferred from a device's last handshake, and this is the greatest
    -- proven one; twelve zeros: none was.
    proven     bytea CHECK (octet_length(proven) = 12 AND proven <= timestamp)
);

-- Keys that were removed. A key that is registered again may be here, too: a registration counts before this.
CREATE TABLE wgjit.removed (
    public_key bytea NOT NULL PRIMARY KEY,
    at         bigint NOT NULL -- Unix seconds
);

CREATE TABLE wgjit.changes (
    sequence   bigint CONSTRAINT changes_in_order UNIQUE, -- NULL until the transaction commits
    xid        xid8 NOT NULL DEFAULT pg_current_xact_id(),
    place      bigint GENERATED ALWAYS AS IDENTITY,       -- the order inside a transaction
    opens      boolean NOT NULL,                          -- the first row of its statement
    kind       text NOT NULL CHECK (kind IN ('updated', 'removed')),
    public_key bytea NOT NULL,
    at         bigint NOT NULL DEFAULT extract(epoch FROM clock_timestamp())::bigint -- Unix seconds
);

CREATE INDEX changes_by_transaction ON wgjit.changes (xid);

CREATE TABLE wgjit.numbers (
    what  text PRIMARY KEY,
    value bigint NOT NULL
);

INSERT INTO wgjit.numbers (what, value) VALUES ('changes', 0);

-- The number of peers is the sum of these rows. Each statement adds its own row, so no writer waits for another.
CREATE TABLE wgjit.tallies (
    peers bigint NOT NULL
);

-- --- the change log --------------------------------------------------------------------------------------------------

CREATE FUNCTION wgjit.number_changes() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $$
DECLARE
    fresh bigint;
    newest bigint;
BEGIN
    SELECT count(*) INTO fresh FROM wgjit.changes WHERE xid = pg_current_xact_id() AND sequence IS NULL;
    IF fresh = 0 THEN -- an earlier statement of this transaction has numbered these rows, too
        RETURN NULL;
    END IF;
    UPDATE wgjit.numbers SET value = value + fresh WHERE what = 'changes' RETURNING value INTO newest;
    UPDATE wgjit.changes AS c SET sequence = newest - fresh + r.rank
        FROM (SELECT ctid AS row, row_number() OVER (ORDER BY place) AS rank
              FROM wgjit.changes WHERE xid = pg_current_xact_id() AND sequence IS NULL) AS r
        WHERE c.ctid = r.row;
    DELETE FROM wgjit.changes WHERE sequence <= newest - 100000; -- the log is bounded
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER changes_numbered AFTER INSERT ON wgjit.changes DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.opens) EXECUTE FUNCTION wgjit.number_changes();

-- --- the number of peers ---------------------------------------------------------------------------------------------

-- Each statement that adds or removes peers adds a row, and one in a hundred folds old rows into one.
CREATE FUNCTION wgjit.fold_tallies() RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    WITH gone AS ( -- rows that another transaction holds stay
        DELETE FROM wgjit.tallies WHERE ctid = ANY (ARRAY(
            SELECT ctid FROM wgjit.tallies LIMIT 1000 FOR UPDATE SKIP LOCKED))
        RETURNING peers)
    INSERT INTO wgjit.tallies (peers) SELECT sum(peers) FROM gone HAVING count(*) > 0;
END $$;

-- --- peers -----------------------------------------------------------------------------------------------------------

CREATE FUNCTION wgjit.peers_inserted() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    INSERT INTO wgjit.addresses (prefix, public_key)
        SELECT unnest(allowed_ips), public_key FROM after_it ORDER BY 1;
    INSERT INTO wgjit.tallies (peers) SELECT count(*) FROM after_it HAVING count(*) > 0;
    IF random() < 0.01 THEN
        PERFORM wgjit.fold_tallies();
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER peers_inserted AFTER INSERT ON wgjit.peers REFERENCING NEW TABLE AS after_it
    FOR EACH STATEMENT EXECUTE FUNCTION wgjit.peers_inserted();

CREATE FUNCTION wgjit.peers_written() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    IF NEW.public_key <> OLD.public_key THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation', CONSTRAINT = 'peers_key_fixed',
            MESSAGE = 'a public key does not change: remove the peer and add another';
    END IF;
    NEW.written := pg_current_xact_id();
    RETURN NEW;
END $$;

CREATE TRIGGER peers_written BEFORE UPDATE ON wgjit.peers
    FOR EACH ROW EXECUTE FUNCTION wgjit.peers_written();

-- These plans are kept, too (0002): the first call may come when the tables are empty, so none may read a whole table.
CREATE FUNCTION wgjit.peers_updated() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    DELETE FROM wgjit.addresses WHERE prefix IN (
        SELECT unnest(b.allowed_ips) FROM before_it AS b JOIN after_it AS a USING (public_key)
        WHERE b.allowed_ips <> a.allowed_ips);
    INSERT INTO wgjit.addresses (prefix, public_key)
        SELECT unnest(a.allowed_ips), public_key FROM before_it AS b JOIN after_it AS a USING (public_key)
        WHERE b.allowed_ips <> a.allowed_ips ORDER BY 1;
    INSERT INTO wgjit.changes (kind, public_key, opens)
        SELECT 'updated', public_key, row_number() OVER () = 1 FROM after_it;
    RETURN NULL;
END $$;

CREATE TRIGGER peers_updated AFTER UPDATE ON wgjit.peers REFERENCING OLD TABLE AS before_it NEW TABLE AS after_it
    FOR EACH STATEMENT EXECUTE FUNCTION wgjit.peers_updated();

CREATE FUNCTION wgjit.peers_removed() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    DELETE FROM wgjit.addresses WHERE prefix IN (SELECT unnest(allowed_ips) FROM before_it);
    INSERT INTO wgjit.removed (public_key, at)
        SELECT public_key, extract(epoch FROM clock_timestamp())::bigint FROM before_it ORDER BY 1
        ON CONFLICT (public_key) DO UPDATE SET at = excluded.at;
    INSERT INTO wgjit.changes (kind, public_key, opens)
        SELECT 'removed', public_key, row_number() OVER () = 1 FROM before_it;
    INSERT INTO wgjit.tallies (peers) SELECT -count(*) FROM before_it HAVING count(*) > 0;
    IF random() < 0.01 THEN
        PERFORM wgjit.fold_tallies();
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER peers_removed AFTER DELETE ON wgjit.peers REFERENCING OLD TABLE AS before_it
    FOR EACH STATEMENT EXECUTE FUNCTION wgjit.peers_removed();

-- TRUNCATE fires none of these triggers: no gateway would learn of the removals.
CREATE FUNCTION wgjit.not_truncated() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', MESSAGE = 'use DELETE: a gateway has to learn of removals';
END $$;

CREATE TRIGGER peers_not_truncated BEFORE TRUNCATE ON wgjit.peers EXECUTE FUNCTION wgjit.not_truncated();
CREATE TRIGGER addresses_not_truncated BEFORE TRUNCATE ON wgjit.addresses EXECUTE FUNCTION wgjit.not_truncated();
CREATE TRIGGER claims_not_truncated BEFORE TRUNCATE ON wgjit.claims EXECUTE FUNCTION wgjit.not_truncated();

-- `addresses` is the index of `peers.allowed_ips`: only the triggers above write it.
CREATE FUNCTION wgjit.addresses_by_triggers() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'feature_not_supported', MESSAGE = 'write peers.allowed_ips instead';
END $$;

CREATE TRIGGER addresses_by_triggers BEFORE INSERT OR UPDATE OR DELETE ON wgjit.addresses
    FOR EACH STATEMENT WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION wgjit.addresses_by_triggers();

-- --- claims ----------------------------------------------------------------------------------------------------------

CREATE FUNCTION wgjit.claims_grow() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    IF NEW.public_key <> OLD.public_key
        OR coalesce(NEW.proven, NEW.timestamp) < coalesce(OLD.proven, OLD.timestamp)
        OR (NEW.proven IS NOT NULL AND NEW.timestamp < OLD.timestamp)
    THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation', CONSTRAINT = 'claims_grow',
            MESSAGE = 'a claim only grows: delete it to reset it';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER claims_grow BEFORE UPDATE ON wgjit.claims FOR EACH ROW EXECUTE FUNCTION wgjit.claims_grow();

-- A claim that is reset is news for the gateway that remembers it. For a removed peer, 'removed' says it.
CREATE FUNCTION wgjit.claims_reset() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    INSERT INTO wgjit.changes (kind, public_key, opens)
        SELECT 'updated', public_key, row_number() OVER () = 1 FROM before_it JOIN wgjit.peers USING (public_key);
    RETURN NULL;
END $$;

CREATE TRIGGER claims_reset AFTER DELETE ON wgjit.claims REFERENCING OLD TABLE AS before_it
    FOR EACH STATEMENT EXECUTE FUNCTION wgjit.claims_reset();
