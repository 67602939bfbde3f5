"""The registry over HTTP: `wgjit api`, a process of its own beside the gateway.

It needs no capability and holds no private key of the interface: the code that faces the web is not in the process that
owns the device. It works on the registry file, and asks a running gateway through its control socket.
"""
