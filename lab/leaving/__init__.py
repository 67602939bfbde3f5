"""Service addresses of a fleet in a lab, by Debian's keepalived and BIRD with the configurations of docs/LEAVING.md.

keepalived   Keepalived: keepalived in a namespace
lan          Lan: a network that the gateways of a fleet and the internet share, for VRRP
"""
