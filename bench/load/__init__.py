"""Thousands of WireGuard clients in one process, to load a gateway with. The command is docs/LOAD.md's.

responder   message 2, for a gateway that initiates (a flipped handshake)
tunnel      transport data: opening it, and ICMP echoes inside
client      one client, without clock or socket: what it sends at its time, and in answer
sockets     a UDP socket for each client
engine      the clock: intended times, retries, epoll
result      what became of all
identities  who the clients are: a file of private keys, and what a registry imports of it
site        the lab's network for it
spoken      one client, each of whose messages its caller sends: for tests
command     `wgjit-load`
"""
