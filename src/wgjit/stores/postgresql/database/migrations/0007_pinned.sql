-- The pinned peers, which a gateway keeps installed.
CREATE INDEX peers_pinned ON wgjit.peers (public_key) WHERE idle_timeout = 0;
