"""Routing daemons of Debian in a lab, with the configurations of docs/ROUTING.md, and a router behind a fleet.

bird      Bird: BIRD in a namespace
frr       Frr: zebra, bgpd and bfdd of FRR in a namespace
site      Inside: a network behind the gateways of a fleet, with a router and a host
"""
