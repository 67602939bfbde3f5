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

CREATE OR REPLACE FUNCTION wgjit.claims_grow() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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

CREATE FUNCTION wgjit.holdings_grow() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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

CREATE TRIGGER holdings_grow BEFORE UPDATE ON wgjit.holdings FOR EACH ROW EXECUTE FUNCTION wgjit.holdings_grow();

CREATE TRIGGER holdings_not_truncated BEFORE TRUNCATE ON wgjit.holdings EXECUTE FUNCTION wgjit.not_truncated();

CREATE FUNCTION wgjit.written_now() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    NEW.written := pg_current_xact_id();
    RETURN NEW;
END $$;

CREATE TRIGGER resets_written BEFORE UPDATE ON wgjit.resets FOR EACH ROW EXECUTE FUNCTION wgjit.written_now();
CREATE TRIGGER removed_written BEFORE UPDATE ON wgjit.removed FOR EACH ROW EXECUTE FUNCTION wgjit.written_now();

-- --- resets ----------------------------------------------------------------------------------------------------------

-- A reset is for a client whose clock was set back. Its holding has the old timestamp, too, and would win for ever.
CREATE OR REPLACE FUNCTION wgjit.claims_reset() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
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
CREATE FUNCTION wgjit.deleted() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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
