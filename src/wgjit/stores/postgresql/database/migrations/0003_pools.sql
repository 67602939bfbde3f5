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

CREATE FUNCTION wgjit.addresses_freed() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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
