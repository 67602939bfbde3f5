"""Networks and kernels to try wgjit in; the tests, the benchmarks and the demo stand on it, and so can you.

netns       Lab, Namespace, Link: network namespaces joined by veth pairs, with delay, NAT and firewalls, gone at exit
wireguard   WireGuard, Client: real interfaces in them, of the kernel or of wireguard-go, and the time to a first ping
guest/      a guest kernel with WireGuard, for a host whose own has none (./dev guest)
demo        what ./dev demo shows
vectors     records tests/vectors from real implementations (./dev vectors)
"""
