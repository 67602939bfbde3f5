-- The pinned peers, which a gateway keeps installed. No row of `peers` grows, and a peer that is not pinned is not in it.
CREATE INDEX peers_pinned ON peers (public_key) WHERE idle_timeout = 0;
