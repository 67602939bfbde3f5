-- What the gateways of a fleet say to one another: who holds a peer, and which gateways there are.
--
-- Rules that hold whoever writes, also psql:
--   claims and holdings only grow, so a statement that comes late or twice does no harm;
--   what a person deletes is in `resets`, so that each gateway deletes its own copy, and deletes nothing otherwise.
--
-- `written` is as in `peers`: the number of the writing transaction, for readers that follow (0001).

ALTER TABLE wgjit.claims ADD COLUMN written xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX claims_by_writing ON wgjit.claims (written);

-- A confirmed claim: this gateway serves the peer, since its session has passed data. A peer's row stays when the peer is
-- removed, as its claim does. Names are compared by bytes ("C"), as every replica compares them.
CREATE TABLE wgjit.holdings (
    public_key bytea NOT NULL PRIMARY KEY CHECK (octet_length(public_key) = 32),
    timestamp  bytea NOT NULL CHECK (octet_length(timestamp) = 12),          -- TAI64N: compares as bytes do
    takeovers  bigint NOT NULL CHECK (takeovers >= 0),                       -- since `timestamp`, begun by gateways
    gateway    text COLLATE "C" NOT NULL CHECK (gateway <> ''),
    epoch      bigint NOT NULL,                                              -- the process's start, Unix milliseconds
    endpoint   bytea NOT NULL CHECK (octet_length(endpoint) IN (6, 18, 22)), -- as in claims
    since      double precision NOT NULL,                                    -- Unix seconds
    until      double precision,                                             -- Unix seconds; NULL: it still serves the peer
    before     text,                                                         -- the gateway that held the peer before
    written    xid8 NOT NULL DEFAULT pg_current_xact_id()
);

CREATE INDEX holdings_by_writing ON wgjit.holdings (written);

-- Keys whose claim or holding was deleted, each with its last deletion. Rows stay: this is no log that may overflow.
CREATE TABLE wgjit.resets (
    public_key bytea NOT NULL PRIMARY KEY,
    written    xid8 NOT NULL DEFAULT pg_current_xact_id()
);

CREATE INDEX resets_by_writing ON wgjit.resets (written);

ALTER TABLE wgjit.removed ADD COLUMN written xid8 NOT NULL DEFAULT pg_current_xact_id();
CREATE INDEX removed_by_writing ON wgjit.removed (written);

-- A gateway writes its row every two seconds. Pages stay half empty, so that this touches no index.
CREATE TABLE wgjit.gateways (
    name         text COLLATE "C" PRIMARY KEY CHECK (name <> ''),
    instance     bytea NOT NULL CHECK (octet_length(instance) = 16), -- drawn once for each replica
    epoch        bigint NOT NULL,                                    -- the process's start, Unix milliseconds
    public_key   bytea NOT NULL CHECK (octet_length(public_key) = 32), -- of the interface
    interface    text NOT NULL,
    address      text,                                               -- where its clients reach it, as configured
    version      text NOT NULL,                                      -- of wgjit
    residents    bigint NOT NULL CHECK (residents >= 0),
    lag          double precision,                                   -- seconds since the replica was renewed
    clock_offset double precision,                                   -- seconds that this server is ahead of the gateway
    started_at   double precision NOT NULL,                          -- Unix seconds by the gateway's clock
    seen_at      double precision NOT NULL                           -- Unix seconds by this server's clock
) WITH (fillfactor = 50);

-- --- claims and holdings only grow -----------------------------------------------------------------------------------

CREATE OR REPLACE FUNCTION wgjit.claims_grow() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    IF NEW.public_key <> OLD.public_key
        OR coalesce(NEW.proven, NEW.timestamp) < coalesce(OLD.proven, OLD.timestamp)
        OR (NEW.proven IS NOT NULL AND NEW.timestamp < OLD.timestamp)
    THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation', CONSTRAINT = 'claims_grow',
            MESSAGE = 'a claim only grows: delete it to reset it';
    END IF;
    NEW.written := pg_current_xact_id();
    RETURN NEW;
END $$;

CREATE FUNCTION wgjit.holdings_grow() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    IF NEW.public_key <> OLD.public_key
        OR (NEW.timestamp, NEW.takeovers, NEW.gateway, NEW.epoch) < (OLD.timestamp, OLD.takeovers, OLD.gateway, OLD.epoch)
    THEN
        RAISE EXCEPTION USING ERRCODE = 'check_violation', CONSTRAINT = 'holdings_grow',
            MESSAGE = 'a holding only grows: delete it to reset it';
    END IF;
    NEW.written := pg_current_xact_id();
    RETURN NEW;
END $$;

-- To call a function costs more than to write the row. So an update that is right, and says so by `written`, calls none.
CREATE TRIGGER holdings_grow BEFORE UPDATE ON wgjit.holdings FOR EACH ROW
    WHEN (NEW.written <> pg_current_xact_id() OR NEW.public_key <> OLD.public_key
          OR (NEW.timestamp, NEW.takeovers, NEW.gateway, NEW.epoch) < (OLD.timestamp, OLD.takeovers, OLD.gateway, OLD.epoch))
    EXECUTE FUNCTION wgjit.holdings_grow();

DROP TRIGGER claims_grow ON wgjit.claims;
CREATE TRIGGER claims_grow BEFORE UPDATE ON wgjit.claims FOR EACH ROW
    WHEN (NEW.written <> pg_current_xact_id() OR NEW.public_key <> OLD.public_key
          OR coalesce(NEW.proven, NEW.timestamp) < coalesce(OLD.proven, OLD.timestamp)
          OR (NEW.proven IS NOT NULL AND NEW.timestamp < OLD.timestamp))
    EXECUTE FUNCTION wgjit.claims_grow();

CREATE TRIGGER holdings_not_truncated BEFORE TRUNCATE ON wgjit.holdings EXECUTE FUNCTION wgjit.not_truncated();

CREATE FUNCTION wgjit.written_now() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    NEW.written := pg_current_xact_id();
    RETURN NEW;
END $$;

CREATE TRIGGER resets_written BEFORE UPDATE ON wgjit.resets FOR EACH ROW EXECUTE FUNCTION wgjit.written_now();
CREATE TRIGGER removed_written BEFORE UPDATE ON wgjit.removed FOR EACH ROW EXECUTE FUNCTION wgjit.written_now();

-- --- resets ----------------------------------------------------------------------------------------------------------

-- A reset is for a client whose clock was set back. Its holding has the old timestamp, too, and would win for ever.
CREATE OR REPLACE FUNCTION wgjit.claims_reset() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    DELETE FROM wgjit.holdings WHERE public_key IN (SELECT public_key FROM before_it);
    INSERT INTO wgjit.resets (public_key) SELECT public_key FROM before_it ORDER BY 1
        ON CONFLICT (public_key) DO UPDATE SET written = excluded.written;
    INSERT INTO wgjit.changes (kind, public_key, opens)
        SELECT 'updated', public_key, row_number() OVER () = 1 FROM before_it JOIN wgjit.peers USING (public_key);
    RETURN NULL;
END $$;

-- Also when all that is left of a removed peer is deleted.
CREATE FUNCTION wgjit.deleted() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    INSERT INTO wgjit.resets (public_key) SELECT public_key FROM before_it ORDER BY 1
        ON CONFLICT (public_key) DO UPDATE SET written = excluded.written;
    RETURN NULL;
END $$;

CREATE TRIGGER holdings_deleted AFTER DELETE ON wgjit.holdings REFERENCING OLD TABLE AS before_it
    FOR EACH STATEMENT EXECUTE FUNCTION wgjit.deleted();
CREATE TRIGGER removed_deleted AFTER DELETE ON wgjit.removed REFERENCING OLD TABLE AS before_it
    FOR EACH STATEMENT EXECUTE FUNCTION wgjit.deleted();

-- --- for replicas ----------------------------------------------------------------------------------------------------

-- Prefixes as a replica keeps them: family (4 or 6), network address (4 or 16 bytes), length (1 byte) for each.
CREATE FUNCTION wgjit.packed(prefixes cidr[]) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN (SELECT coalesce(string_agg(
        CASE family(p) WHEN 4 THEN '\x04'::bytea ELSE '\x06'::bytea END || substr(cidr_send(p), 5)
            || set_byte('\x00'::bytea, 0, masklen(p)), ''::bytea ORDER BY place), ''::bytea)
        FROM unnest(prefixes) WITH ORDINALITY AS each (p, place));

-- Where and what a server is: the registry's identity, whether it is a standby, its timeline if it is none, the snapshot
-- of this statement, and on a standby the seconds since the last transaction that it has repeated was committed.
CREATE FUNCTION wgjit.server()
RETURNS TABLE (identity bytea, is_standby boolean, timeline text, snapshot text, replayed double precision)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    SELECT value || convert_to((SELECT oid::text FROM pg_database WHERE datname = current_database())
                               || '.' || 'wgjit.peers'::regclass::oid::text, 'UTF8')
        INTO identity FROM wgjit.meta WHERE what = 'identity';
    is_standby := pg_is_in_recovery();
    snapshot := pg_current_snapshot()::text;
    IF is_standby THEN
        replayed := extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp());
    ELSE
        timeline := substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8);
    END IF;
    RETURN NEXT;
END $$;

-- All that a snapshot does not see, in one statement and so of one moment, up to so many rows of each table. A function,
-- because its plans are kept: gateways call it all the time, and mostly there is nothing. The first row is the server's.
CREATE FUNCTION wgjit.news(since pg_snapshot, most bigint)
RETURNS TABLE (what text, number bigint, public_key bytea, is_true boolean, a bytea, b bytea, c bytea,
               i bigint, j bigint, k bigint, s text, t text, x double precision, y double precision)
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan
AS $$
#variable_conflict use_column
DECLARE
    low xid8 := pg_snapshot_xmin(since);
BEGIN
    RETURN QUERY SELECT 'server', 0::bigint, NULL::bytea, v.is_standby, v.identity, NULL::bytea, NULL::bytea,
            NULL::bigint, NULL::bigint, NULL::bigint, v.timeline, v.snapshot, v.replayed, NULL::float8
        FROM wgjit.server() AS v;
    RETURN QUERY SELECT 'resets', r.written::text::bigint, r.public_key, p.public_key IS NOT NULL, NULL::bytea, NULL::bytea,
            NULL::bytea, NULL::bigint, NULL::bigint, NULL::bigint, NULL, NULL, NULL::float8, NULL::float8
        FROM wgjit.resets AS r LEFT JOIN wgjit.peers AS p ON p.public_key = r.public_key
        WHERE r.written >= low AND NOT pg_visible_in_snapshot(r.written, since) LIMIT most;
    RETURN QUERY SELECT 'removed', r.written::text::bigint, r.public_key, p.public_key IS NOT NULL, NULL::bytea,
            NULL::bytea, NULL::bytea, r.at, NULL::bigint, NULL::bigint, NULL, NULL, NULL::float8, NULL::float8
        FROM wgjit.removed AS r LEFT JOIN wgjit.peers AS p ON p.public_key = r.public_key
        WHERE r.written >= low AND NOT pg_visible_in_snapshot(r.written, since) LIMIT most;
    RETURN QUERY SELECT 'claims', r.written::text::bigint, r.public_key, NULL::boolean, r.timestamp, r.endpoint, r.proven,
            NULL::bigint, NULL::bigint, NULL::bigint, r.gateway, NULL, r.proven_at, NULL::float8
        FROM wgjit.claims AS r
        WHERE r.written >= low AND NOT pg_visible_in_snapshot(r.written, since) LIMIT most;
    RETURN QUERY SELECT 'holdings', r.written::text::bigint, r.public_key, NULL::boolean, r.timestamp, r.endpoint,
            NULL::bytea, r.takeovers, r.epoch, NULL::bigint, r.gateway, r.before, r.since, r.until
        FROM wgjit.holdings AS r
        WHERE r.written >= low AND NOT pg_visible_in_snapshot(r.written, news.since) LIMIT most;
    RETURN QUERY SELECT 'peers', r.written::text::bigint, r.public_key, r.enabled, wgjit.packed(r.allowed_ips),
            r.preshared_key, NULL::bytea, r.keepalive::bigint, r.expires_at, r.idle_timeout::bigint, r.name, NULL,
            NULL::float8, NULL::float8
        FROM wgjit.peers AS r
        WHERE r.written >= low AND NOT pg_visible_in_snapshot(r.written, since) LIMIT most;
END $$;

-- --- what gateways say -----------------------------------------------------------------------------------------------
-- Each keeps the greater of the row that it brings and of the row that is there, and gives back the keys that it saved: the
-- others lost. Keys that nobody has are left out. Writers lock the rows in the order of keys, so that none waits in a
-- circle; a key comes once. Functions, because their plans are kept: to plan them costs more than to save a few rows.

-- As `Claim.over` in model.py.
CREATE FUNCTION wgjit.save_claims(keys bytea[], timestamps bytea[], gateways text[], endpoints bytea[],
                                  moments double precision[], greatest_proven bytea[]) RETURNS SETOF bytea
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    RETURN QUERY INSERT INTO wgjit.claims AS c (public_key, timestamp, gateway, endpoint, proven_at, proven)
        SELECT n.* FROM unnest(keys, timestamps, gateways, endpoints, moments, greatest_proven)
            AS n (public_key, timestamp, gateway, endpoint, proven_at, proven)
        WHERE EXISTS (SELECT FROM wgjit.peers AS p WHERE p.public_key = n.public_key)
           OR EXISTS (SELECT FROM wgjit.removed AS r WHERE r.public_key = n.public_key)
        ORDER BY n.public_key
        ON CONFLICT (public_key) DO UPDATE
        SET timestamp = excluded.timestamp, gateway = excluded.gateway, endpoint = excluded.endpoint,
            proven_at = excluded.proven_at, written = pg_current_xact_id(),
            proven = CASE WHEN excluded.proven IS NOT NULL
                          THEN greatest(excluded.proven, coalesce(c.proven, c.timestamp)) END
        WHERE CASE WHEN excluded.proven IS NULL
                   THEN excluded.timestamp > coalesce(c.proven, c.timestamp)
                   ELSE excluded.timestamp > c.timestamp
                        OR excluded.timestamp = c.timestamp AND excluded.proven > c.proven END
        RETURNING c.public_key;
END $$;

-- As `Holding.over` in model.py. A holding that is there already is not written again.
CREATE FUNCTION wgjit.save_holdings(keys bytea[], timestamps bytea[], counts bigint[], gateways text[], epochs bigint[],
                                    endpoints bytea[], begins double precision[], ends double precision[],
                                    befores text[]) RETURNS SETOF bytea
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan
AS $$
BEGIN
    RETURN QUERY INSERT INTO wgjit.holdings AS h
            (public_key, timestamp, takeovers, gateway, epoch, endpoint, since, until, before)
        SELECT n.* FROM unnest(keys, timestamps, counts, gateways, epochs, endpoints, begins, ends, befores)
            AS n (public_key, timestamp, takeovers, gateway, epoch, endpoint, since, until, before)
        WHERE EXISTS (SELECT FROM wgjit.peers AS p WHERE p.public_key = n.public_key)
           OR EXISTS (SELECT FROM wgjit.removed AS r WHERE r.public_key = n.public_key)
        ORDER BY n.public_key
        ON CONFLICT (public_key) DO UPDATE
        SET timestamp = excluded.timestamp, takeovers = excluded.takeovers, gateway = excluded.gateway,
            epoch = excluded.epoch, endpoint = excluded.endpoint, since = excluded.since, until = excluded.until,
            written = pg_current_xact_id(),
            before = CASE WHEN excluded.gateway = h.gateway THEN coalesce(excluded.before, h.before) ELSE h.gateway END
        WHERE (excluded.timestamp, excluded.takeovers, excluded.gateway, excluded.epoch)
            > (h.timestamp, h.takeovers, h.gateway, h.epoch)
           OR (excluded.timestamp, excluded.takeovers, excluded.gateway, excluded.epoch)
            = (h.timestamp, h.takeovers, h.gateway, h.epoch)
              AND (excluded.endpoint, excluded.since, excluded.until, coalesce(excluded.before, h.before))
                  IS DISTINCT FROM (h.endpoint, h.since, h.until, h.before)
        RETURNING h.public_key;
END $$;
