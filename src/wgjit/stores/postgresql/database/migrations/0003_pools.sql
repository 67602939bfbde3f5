-- The pools that addresses are given out from. Each address of a pool is taken, or reserved, or in `freed`, or in
-- `ready`, or not before `next`. So giving one out never has to look for gaps.

CREATE TABLE wgjit.pools (
    id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    prefix cidr NOT NULL UNIQUE,
    next   inet -- nothing from here on was ever given out or made ready; NULL: the pool was gone through to its end
);

-- Addresses that may be given out at once. They are put here a block at a time, in a short transaction, so that writers
-- take an address each (SKIP LOCKED) and do not wait for one another.
CREATE TABLE wgjit.ready (
    pool    integer NOT NULL REFERENCES wgjit.pools ON DELETE CASCADE,
    address inet NOT NULL,
    PRIMARY KEY (pool, address)
);

-- Addresses of a pool that lost their owner. Ones that were taken again may be here, too: who gives out looks.
CREATE TABLE wgjit.freed (
    pool  integer NOT NULL REFERENCES wgjit.pools ON DELETE CASCADE,
    first inet NOT NULL,
    last  inet NOT NULL,
    at    bigint NOT NULL, -- Unix seconds by this server's clock
    PRIMARY KEY (pool, first, last)
);

CREATE INDEX freed_by_time ON wgjit.freed (pool, at, first);
CREATE INDEX freed_wide ON wgjit.freed (pool, last) WHERE last > first;

CREATE FUNCTION wgjit.addresses_freed() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    INSERT INTO wgjit.freed (pool, first, last, at)
        SELECT id, host(network(inner_one))::inet, host(broadcast(inner_one))::inet,
               extract(epoch FROM clock_timestamp())::bigint
        FROM (SELECT p.id, CASE WHEN p.prefix >>= g.prefix THEN g.prefix ELSE p.prefix END AS inner_one
              FROM before_it AS g JOIN wgjit.pools AS p ON p.prefix && g.prefix) AS inner_ones
        ORDER BY 1, 2
        ON CONFLICT (pool, first, last) DO UPDATE SET at = excluded.at;
    RETURN NULL;
END $$;

CREATE TRIGGER addresses_freed AFTER DELETE ON wgjit.addresses REFERENCING OLD TABLE AS before_it
    FOR EACH STATEMENT EXECUTE FUNCTION wgjit.addresses_freed();

-- --- giving out ------------------------------------------------------------------------------------------------------
-- Functions, because their plans are kept: to plan these statements costs more than to run them.

-- The first address of a range that has no owner, is not reserved, and does not rest. NULL if there is none.
CREATE FUNCTION wgjit.first_free(pool_id integer, low inet, high inet, quarantine bigint, reserved inet[]) RETURNS inet
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    this inet := low;
    reached inet;
    ripe bigint := extract(epoch FROM clock_timestamp())::bigint - quarantine;
BEGIN
    LOOP
        reached := NULL;
        SELECT host(broadcast(w.prefix))::inet INTO reached FROM (
            SELECT prefix FROM wgjit.wide WHERE prefix < this::cidr ORDER BY prefix DESC LIMIT 1
        ) AS w WHERE w.prefix >> this::cidr;
        IF reached IS NULL THEN
            SELECT max(last) INTO reached FROM wgjit.freed
                WHERE pool = pool_id AND last > first AND last >= this AND first <= this AND at > ripe;
        END IF;
        IF reached IS NULL AND (
            this = ANY (reserved)
            OR EXISTS (SELECT FROM wgjit.addresses WHERE prefix = this::cidr)
            OR EXISTS (SELECT FROM wgjit.freed WHERE pool = pool_id AND first = this AND last = this AND at > ripe))
        THEN
            reached := this;
        END IF;
        IF reached IS NULL THEN
            RETURN this;
        ELSIF reached >= high THEN
            RETURN NULL;
        END IF;
        this := reached + 1;
    END LOOP;
END $$;

-- A free address, taken off `freed` or `ready` by this transaction. NULL if none is ready.
CREATE FUNCTION wgjit.take_address(pool_id integer, quarantine bigint, reserved inet[]) RETURNS inet
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    oldest record;
    found_one inet;
    ripe bigint := extract(epoch FROM clock_timestamp())::bigint - quarantine;
BEGIN
    LOOP
        SELECT first, last, at INTO oldest FROM wgjit.freed WHERE pool = pool_id AND at <= ripe
            ORDER BY at, first LIMIT 1 FOR UPDATE SKIP LOCKED;
        EXIT WHEN NOT FOUND;
        DELETE FROM wgjit.freed WHERE pool = pool_id AND first = oldest.first AND last = oldest.last;
        found_one := wgjit.first_free(pool_id, oldest.first, oldest.last, quarantine, reserved);
        CONTINUE WHEN found_one IS NULL; -- taken again since; a trigger notes it when it is freed again
        IF found_one < oldest.last THEN
            INSERT INTO wgjit.freed (pool, first, last, at) VALUES (pool_id, found_one + 1, oldest.last, oldest.at)
                ON CONFLICT DO NOTHING;
        END IF;
        RETURN found_one;
    END LOOP;
    LOOP
        DELETE FROM wgjit.ready WHERE ctid = (
            SELECT ctid FROM wgjit.ready WHERE pool = pool_id AND address <> ALL (reserved)
            ORDER BY address LIMIT 1 FOR UPDATE SKIP LOCKED)
            RETURNING address INTO found_one;
        EXIT WHEN NOT FOUND;
        IF NOT EXISTS (SELECT FROM wgjit.addresses WHERE prefix = found_one::cidr)
            AND NOT EXISTS (SELECT FROM wgjit.freed
                            WHERE pool = pool_id AND first = found_one AND last = found_one AND at > ripe)
            AND NOT EXISTS (SELECT FROM wgjit.freed
                            WHERE pool = pool_id AND last > first AND last >= found_one AND first <= found_one
                              AND at > ripe)
            AND NOT EXISTS (SELECT FROM (SELECT prefix FROM wgjit.wide WHERE prefix < found_one::cidr
                                         ORDER BY prefix DESC LIMIT 1) AS w WHERE w.prefix >> found_one::cidr)
        THEN
            RETURN found_one;
        END IF;
    END LOOP;
    RETURN NULL;
END $$;

-- Prefixes have an owner now: take them off `freed`. A row that another transaction holds stays, since waiting for it
-- could be waiting in a circle. A row that stays only costs a later search some time.
CREATE FUNCTION wgjit.forget_freed(prefixes cidr[]) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    DELETE FROM wgjit.freed WHERE ctid = ANY (ARRAY(
        SELECT f.ctid FROM wgjit.pools AS p
        CROSS JOIN (SELECT host(network(n))::inet AS first, host(broadcast(n))::inet AS last
                    FROM unnest(prefixes) AS n) AS r
        JOIN wgjit.freed AS f ON f.pool = p.id AND f.first = r.first AND f.last = r.last
        FOR UPDATE OF f SKIP LOCKED));
END $$;
