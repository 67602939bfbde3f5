-- How long a peer may be idle before it leaves a device. Last in the row: NULL costs no byte where it was registered
-- before, one where it is new, and no lookup steps over it.

ALTER TABLE peers ADD COLUMN
    idle_timeout INTEGER CHECK (idle_timeout = 0 OR idle_timeout BETWEEN 180 AND 315360000); -- seconds, 0 is never
