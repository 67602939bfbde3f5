"""Networks and guest kernels in which to try wgjit. The tests, the benchmarks and the demo use them.

netns       Lab, Namespace, Link: network namespaces joined by veth pairs, with delay, NAT and firewalls
wireguard   WireGuard, Client: real interfaces of the kernel or of wireguard-go, and the time to a first ping
postgresql  Cluster, Standby: PostgreSQL servers in temporary folders: reached over TCP, killed, hanging, promoted
pgbouncer   PgBouncer: pgbouncer in transaction mode before such a server
fleet/      a fleet: PostgreSQL, gateways with one key and a replica each, clients that move; ./dev demo fleet
guest/      a guest kernel with WireGuard, for a host whose kernel has none (./dev guest)
demo        the demo: ./dev demo
vectors     records tests/vectors from real implementations (./dev vectors)
"""
