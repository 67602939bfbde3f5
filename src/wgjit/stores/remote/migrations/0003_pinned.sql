-- The pinned peers that the service has told of: a gateway installs them when it starts.
CREATE INDEX answers_pinned ON answers (public_key) WHERE idle_timeout = 0;
