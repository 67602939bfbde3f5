-- How many peers there are, kept by triggers: counting fifty million rows takes seconds.

CREATE TABLE totals (
    what  TEXT NOT NULL PRIMARY KEY, -- a table's name
    count INTEGER NOT NULL           -- its rows
) STRICT, WITHOUT ROWID;

INSERT INTO totals (what, count) SELECT 'peers', count(*) FROM peers;

CREATE TRIGGER peers_counted AFTER INSERT ON peers BEGIN
    UPDATE totals SET count = count + 1 WHERE what = 'peers';
END;

CREATE TRIGGER peers_uncounted AFTER DELETE ON peers BEGIN
    UPDATE totals SET count = count - 1 WHERE what = 'peers';
END;
