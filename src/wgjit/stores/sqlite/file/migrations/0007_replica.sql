-- What a gateway of a fleet keeps in its copy of the registry of record, its replica. In the registry of one machine
-- these tables are empty, and no statement reads them.

-- Who holds a peer: its greatest confirmed claim. The row stays when the peer is removed, as its claim does.
CREATE TABLE holdings (
    public_key BLOB NOT NULL PRIMARY KEY CHECK (length(public_key) = 32),
    timestamp  BLOB NOT NULL CHECK (length(timestamp) = 12),          -- TAI64N: compares as bytes do
    takeovers  INTEGER NOT NULL CHECK (takeovers >= 0),
    gateway    TEXT NOT NULL CHECK (gateway <> ''),
    epoch      INTEGER NOT NULL,                                      -- the process's start, Unix milliseconds
    endpoint   BLOB NOT NULL CHECK (length(endpoint) IN (6, 18, 22)), -- as in claims
    since      REAL NOT NULL,                                         -- Unix seconds
    until      REAL,                                                  -- Unix seconds; NULL: it still serves the peer
    before     TEXT,                                                  -- the gateway that held the peer before
    arrival    INTEGER NOT NULL                                       -- the order in which rows came into this file
) STRICT, WITHOUT ROWID;

CREATE INDEX holdings_by_arrival ON holdings (arrival);

-- Keys whose claim or holding, as it is now, has still to be said to the registry of record.
CREATE TABLE outbox (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT,
    what       TEXT NOT NULL CHECK (what IN ('claim', 'holding')),
    public_key BLOB NOT NULL CHECK (length(public_key) = 32),
    UNIQUE (what, public_key)
) STRICT;

-- record: the identity of the registry of record; snapshot: what was read of it; timeline: of its server; copied: the
-- last key that the running copy has reached; loaded: how many peers it has brought; arrivals: the greatest
-- `holdings.arrival`; instance: this gateway's own number, drawn once.
CREATE TABLE replica (
    what  TEXT NOT NULL PRIMARY KEY CHECK (what <> ''),
    value ANY
) STRICT, WITHOUT ROWID;
