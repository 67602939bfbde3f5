"""A fleet in a lab: PostgreSQL, gateways with one private key and a replica each, and clients that reach all of them.

    with Lab() as lab, Engine(lab) as engine, Fleet(lab, engine, "kernel") as fleet:
        client = fleet.client()
        fleet.up()
        a, b = fleet.members
        client.first_ping(a.inside)
        client.move(b.endpoint)
        client.first_ping(b.inside)

                      ┌── gateway a   192.0.2.1  10.8.255.1 ──┐ 10.98.N.0/30
    c1 ──┐            │                                       │
    c2 ──┼─ internet ─┼── gateway b   192.0.2.5  10.8.255.2 ──┼── engine   10.99.0.1, standby 10.99.0.2
    ...  ┘            │                                       │
                      └── gateway c   192.0.2.9  10.8.255.3 ──┘
                203.0.113.1: the service address, which each of them has, and of which the internet has one route

engine    Engine: PostgreSQL in a namespace, with a standby if wanted; databases with an empty registry; links
member    Member: one gateway of a fleet: its machine, its interface, its replica, its link to the engine
site      Fleet, Traveller: all of it, and clients that move from gateway to gateway
streams   Streams: downloads that go on, and for how long they pause
traffic   Traffic: datagrams that are sent again and again
demo      the demo: ./dev demo fleet
"""
