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

CREATE FUNCTION wgjit.audit_fixed() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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
