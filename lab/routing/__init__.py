"""Routing daemons of Debian in a lab, with the configurations of docs/ROUTING.md, and a router behind a fleet.

pages     the configurations, as the page has them
bird      Bird: BIRD in a namespace
frr       Frr: zebra, bgpd and bfdd of FRR in a namespace
site      Inside: a network behind the gateways of a fleet, with a router and a host
"""
