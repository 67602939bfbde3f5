"""The kernel's edges: bytes and system calls on one side, the model's values on the other.

A WireGuard interface ("device"), and the two ways to speak to one:

    base            the protocols Device, Capture, Injector that the daemon knows
    device          open_device: whatever stands behind a name
    wg_netlink      KernelDevice, by generic netlink; wg_messages: its messages as values; wg_fixed: a crowd's, quickly
    wg_uapi         UserspaceDevice, wireguard-go by its socket; uapi_connection: that socket; uapi: its text protocol;
                    uapi_dump: a crowd's, quickly
    recall          what the last dump told, so that what has not changed is not read again
    links           interfaces made and taken away, local addresses
    changes         the caller's mistakes, found before anything is sent
    translate       errno to our errors, once

Knocks captured and put back:

    capture_nfqueue NfqueueCapture: each waits in the kernel; nfqueue: the messages; queue_rules, rules_nft, rules_xt:
                    the firewall rules that send them there
    capture_packet  PacketCapture: copies by AF_PACKET
    inject          ReplayInjector: a copy put back, by xdp (live frames) or raw; replay_mark: and known again
    probe           what this machine can do; trial: tried out in a namespace of its own

Netlink underneath: netlink (messages, attributes by table), netlink_socket, genetlink (families), nfnetlink
(netfilter), rtnetlink (links, addresses, routes). All by hand: a library was measured 40 times slower here, and cannot
be asked inside an event loop.
"""
