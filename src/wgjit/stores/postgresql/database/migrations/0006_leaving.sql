-- What other gateways have to know of one that is about to leave, or that has died.

ALTER TABLE wgjit.gateways
    ADD COLUMN draining boolean NOT NULL DEFAULT false, -- it takes over no clients, and lets its own go
    ADD COLUMN service  text;                           -- the addresses that it shares with others, with commas between
