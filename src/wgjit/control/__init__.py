"""The gateway's control socket, for programs on the same machine.

| module   | what is inside                                             |
| -------- | ---------------------------------------------------------- |
| `socket` | the path of the gateway's Unix socket, and its protocol    |
| `status` | a gateway's status: its fields, and their JSON form        |
| `health` | whether a gateway is fit to serve, and its JSON form       |
| `client` | asks a running gateway for its status or its feed          |
| `asking` | asks for anything, without an event loop, and starts fast  |
"""
