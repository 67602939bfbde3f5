"""The registry over HTTP: the verbs of `wgjit peer`, and the feed, for programs."""
