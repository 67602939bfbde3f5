-- The other gateways of the fleet, as this replica's gateway heard of them with its last heartbeat.
CREATE TABLE gateways (
    name     TEXT NOT NULL PRIMARY KEY CHECK (name <> ''),
    lives    INTEGER NOT NULL CHECK (lives IN (0, 1)),
    draining INTEGER NOT NULL CHECK (draining IN (0, 1)),
    service  TEXT                                          -- as in the registry of record
) STRICT, WITHOUT ROWID;
