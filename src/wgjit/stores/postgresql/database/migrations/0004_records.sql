-- Who changed what, who may ask the HTTP API, and what it answered.

-- Without a foreign key: a removed peer's entries stay.
CREATE TABLE wgjit.audit (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         double precision NOT NULL,                    -- Unix seconds by the writer's clock
    actor      text NOT NULL CHECK (actor <> ''),
    verb       text NOT NULL CHECK (verb <> ''),
    public_key bytea CHECK (octet_length(public_key) = 32),  -- NULL: about no single peer
    old_key    bytea CHECK (octet_length(old_key) = 32),     -- of a rotation: the key that went
    name       text,                                         -- of the peer or token, as it was called
    details    json NOT NULL                                 -- an object; never a secret
);

CREATE INDEX audit_by_key ON wgjit.audit (public_key, id) WHERE public_key IS NOT NULL;
CREATE INDEX audit_by_old_key ON wgjit.audit (old_key, id) WHERE old_key IS NOT NULL;
CREATE INDEX audit_by_time ON wgjit.audit (at);

CREATE FUNCTION wgjit.audit_fixed() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'check_violation', CONSTRAINT = 'audit_fixed',
        MESSAGE = 'an entry of the audit log does not change';
END $$;

CREATE TRIGGER audit_fixed BEFORE UPDATE ON wgjit.audit FOR EACH ROW EXECUTE FUNCTION wgjit.audit_fixed();

-- A revoked token keeps its row and so its name: an actor in the audit log means one token for ever.
CREATE TABLE wgjit.tokens (
    id           text COLLATE "C" PRIMARY KEY CHECK (length(id) = 8),       -- the public part of the token's text
    name         text COLLATE "C" NOT NULL UNIQUE CHECK (name <> ''),
    hash         bytea NOT NULL CHECK (octet_length(hash) = 32),            -- SHA-256 of the 32 secret bytes
    scope        text NOT NULL CHECK (scope IN ('read', 'write', 'admin', 'gateway')),
    rate         double precision CHECK (rate > 0),                         -- requests a second; NULL: the configured one
    created_at   double precision NOT NULL,                                 -- these four in Unix seconds
    expires_at   double precision,
    last_used_at double precision,
    revoked_at   double precision
);

-- Answers that are given again to a request that is sent again. The body has no private key in it.
CREATE TABLE wgjit.idempotency (
    actor       text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL CHECK (key <> ''),
    fingerprint bytea NOT NULL CHECK (octet_length(fingerprint) = 32), -- SHA-256 of method, path and body
    status      integer NOT NULL,                                      -- of HTTP
    body        bytea NOT NULL,
    at          double precision NOT NULL,                             -- Unix seconds
    PRIMARY KEY (actor, key)
);

CREATE INDEX idempotency_by_time ON wgjit.idempotency (at);

-- --- registering in one call -----------------------------------------------------------------------------------------

-- Registers a peer with its labels and an address of each of some pools, and notes it in the log. Returns the addresses.
-- Nothing is done, and the caller sees it in what is returned, if a pool has no address ready (NULL in its place), or if
-- an address lies in one of the peer's own allowed IPs.
--
-- One call, because each statement of its own would be a round trip, and would be planned anew each time. `wait`:
-- milliseconds to wait for another writer. `most`: milliseconds after which all is undone, as by statement_timeout, which
-- cannot be set for one statement alone; NULL is never. It is safe as a statement without a transaction around it.
CREATE FUNCTION wgjit.register(
    its_key bytea, own cidr[], its_preshared_key bytea, its_keepalive integer, its_enabled boolean,
    its_expires_at bigint, its_name text, its_idle_timeout integer, label_keys text[], label_values text[],
    pool_ids integer[], quarantines bigint[], reserved text[], -- an inet[] as text for each pool
    log_at double precision, log_actor text, log_verb text, log_name text, log_details json, wait integer, most integer
) RETURNS cidr[] LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
    SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off SET lock_timeout = 0 AS $$
DECLARE
    given cidr[] := '{}';
    whole cidr[];
    limited text;
BEGIN
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION USING ERRCODE = 'feature_not_supported',
            MESSAGE = 'peers are registered in READ COMMITTED transactions only';
    END IF;
    limited := set_config('lock_timeout', wait::text, true); -- an assignment is faster than a PERFORM
    FOR number IN 1 .. cardinality(pool_ids) LOOP
        given := given || wgjit.take_address(pool_ids[number], quarantines[number], reserved[number]::inet[])::cidr;
    END LOOP;
    whole := own || given;
    IF array_position(given, NULL) IS NOT NULL
        OR cardinality(own) > 0 AND EXISTS (SELECT FROM unnest(own) AS o, unnest(given) AS g WHERE o >>= g)
    THEN
        INSERT INTO wgjit.ready (pool, address)
            SELECT g.pool, host(g.address)::inet FROM unnest(pool_ids, given) AS g (pool, address)
            WHERE g.address IS NOT NULL;
        RETURN given;
    END IF;
    INSERT INTO wgjit.peers
        (public_key, allowed_ips, preshared_key, keepalive, enabled, expires_at, name, idle_timeout)
        VALUES (its_key, whole, its_preshared_key, its_keepalive, its_enabled, its_expires_at, its_name,
                its_idle_timeout);
    IF cardinality(own) > 0 THEN
        PERFORM wgjit.forget_freed(own);
    END IF;
    IF cardinality(label_keys) > 0 THEN
        INSERT INTO wgjit.labels (public_key, key, value)
            SELECT its_key, n.key, n.value FROM unnest(label_keys, label_values) AS n (key, value)
            ON CONFLICT (public_key, key) DO UPDATE SET value = excluded.value;
    END IF;
    IF cardinality(given) > 0 THEN -- the caller could not know them
        SELECT json_object_agg(d.key, CASE d.key
                WHEN 'allowed_ips' THEN json_build_array(NULL, to_json(whole::text[])) ELSE d.value END)
            INTO log_details FROM json_each(log_details) AS d;
    END IF;
    INSERT INTO wgjit.audit (at, actor, verb, public_key, name, details)
        VALUES (log_at, log_actor, log_verb, its_key, log_name, log_details);
    IF clock_timestamp() > statement_timestamp() + most * interval '1 millisecond' THEN
        RAISE EXCEPTION USING ERRCODE = 'query_canceled', MESSAGE = format('gave up after %s ms', most);
    END IF;
    RETURN given;
END $$;
