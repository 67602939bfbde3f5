-- Two peers never own overlapping addresses, also if many programs write at once.
--
-- How: the order of cidr is that of a tree. A prefix comes before all prefixes inside of it, and they follow it at once.
-- So, as the rows are disjoint, only two can overlap a new prefix: the last wide one before it (around it), and, if it is
-- wide itself, the next one behind it (inside of it). Equal ones meet at the primary key. Each is one B-tree descent.
-- "Wide" is a prefix of more than one address. The wide ones are in a table of their own, which mostly is small: the
-- planner cannot know how few they are among the others, and would read all addresses to find one.
--
-- Concurrent writers: two single addresses overlap only if they are equal, and the primary key makes the second writer
-- wait for the first. So a writer of single addresses, the common case, takes an advisory lock in shared mode, and a
-- writer of a wide prefix takes it in exclusive mode, until their transactions end. The rows are inserted before the
-- lock, and compared after it by a statement of its own, which sees all that was committed before the lock was given.
-- That takes READ COMMITTED; the stricter levels would compare with an old snapshot, and are refused here.
--
-- Why not `EXCLUDE USING gist (prefix inet_ops WITH &&)`: it is safe at every isolation level and needs no lock. But it
-- is a second index of all addresses beside the primary key, and a dear one: inserting 100,000 addresses into a table
-- with this index alone took 38 µs of CPU a row in random order and 252 µs in order; with a B-tree alone 7 and 5 µs.
-- The conflict that it looks for is nearly always one between equal addresses, which the primary key finds anyway.
-- To exchange one for the other: drop the trigger `addresses_disjoint` and add the constraint under the same name, and
-- fill `wide` by another trigger, since who gives out addresses reads it.

CREATE TABLE wgjit.wide (
    prefix cidr NOT NULL PRIMARY KEY
);

CREATE FUNCTION wgjit.is_wide(prefix cidr) RETURNS boolean LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN masklen(prefix) < CASE family(prefix) WHEN 4 THEN 32 ELSE 128 END;

-- The plans of a function are kept, and the first call may come when the tables are empty: no plan may read a table.
CREATE FUNCTION wgjit.addresses_disjoint() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    clash record;
    some_wide boolean;
    is_locked boolean;
BEGIN
    SELECT bool_or(wgjit.is_wide(prefix)) INTO some_wide FROM after_it;
    IF some_wide IS NULL THEN -- no rows
        RETURN NULL;
    END IF;
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
            MESSAGE = 'allowed IPs are written in READ COMMITTED transactions only';
    END IF;
    IF some_wide THEN
        INSERT INTO wgjit.wide (prefix) SELECT prefix FROM after_it WHERE wgjit.is_wide(prefix) ORDER BY 1;
        is_locked := pg_advisory_xact_lock(2003266164, 1) IS NOT NULL;
    ELSE
        is_locked := pg_advisory_xact_lock_shared(2003266164, 1) IS NOT NULL; -- an assignment is faster than a PERFORM
    END IF;
    IF EXISTS (SELECT FROM wgjit.wide) THEN
        SELECT n.prefix, o.prefix AS owned INTO clash
            FROM after_it AS n CROSS JOIN LATERAL (
                SELECT w.prefix FROM wgjit.wide AS w WHERE w.prefix < n.prefix ORDER BY w.prefix DESC LIMIT 1) AS o
            WHERE o.prefix >> n.prefix LIMIT 1;
    END IF;
    IF some_wide AND clash IS NULL THEN
        SELECT n.prefix, o.prefix AS owned INTO clash
            FROM after_it AS n CROSS JOIN LATERAL (
                SELECT a.prefix FROM wgjit.addresses AS a WHERE a.prefix > n.prefix ORDER BY a.prefix LIMIT 1) AS o
            WHERE o.prefix << n.prefix AND wgjit.is_wide(n.prefix) LIMIT 1;
    END IF;
    IF clash IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'exclusion_violation', CONSTRAINT = 'addresses_disjoint',
            MESSAGE = format('%s overlaps %s, which belongs to a peer', clash.prefix, clash.owned);
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER addresses_disjoint AFTER INSERT ON wgjit.addresses REFERENCING NEW TABLE AS after_it
    FOR EACH STATEMENT EXECUTE FUNCTION wgjit.addresses_disjoint();

CREATE FUNCTION wgjit.wide_gone() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
BEGIN
    DELETE FROM wgjit.wide WHERE prefix IN (SELECT prefix FROM before_it WHERE wgjit.is_wide(prefix));
    RETURN NULL;
END $$;

CREATE TRIGGER addresses_wide_gone AFTER DELETE ON wgjit.addresses REFERENCING OLD TABLE AS before_it
    FOR EACH STATEMENT EXECUTE FUNCTION wgjit.wide_gone();
