-- Who is held at an endpoint now: data that comes from there has lost its way from the gateway that holds it.
CREATE INDEX holdings_by_endpoint ON holdings (endpoint) WHERE until IS NULL;
