"""Generic netlink: finds families by name, sends commands, reads dumps.

Source: include/uapi/linux/genetlink.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from wgjit.drivers.netlink.codec import MESSAGE_HEADER, TEXT, U16, Message, Table
from wgjit.drivers.netlink.socket import NetlinkSocket
from wgjit.errors import MalformedAnswer

NETLINK_GENERIC = 16
GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_VERSION = 16, 3, 2
CONTROLLER = Table("generic netlink family", {1: ("family_id", U16), 2: ("family_name", TEXT)})

_HEADER = struct.Struct("=BBH")  # command, version, reserved

MESSAGE_HEADERS = MESSAGE_HEADER + _HEADER.size
"""Bytes before the attributes of a message."""


def attributes_of(message: Message) -> bytes:
    """The bytes after the generic netlink header. Raises MalformedAnswer."""
    if len(message.body) < _HEADER.size:
        raise MalformedAnswer("netlink: a message shorter than its generic netlink header")
    return message.body[_HEADER.size :]


class GenetlinkSocket(NetlinkSocket):
    """Commands and dumps of one family. Errors are OSErrors, as for any NetlinkSocket."""

    def __init__(self, version: int, family_id: int = 0) -> None:
        """Open the socket. `family_id` is another socket's result of `resolve`; without it, call `resolve` first."""
        super().__init__(NETLINK_GENERIC)
        self._version = version
        self._family_id = family_id

    def resolve(self, family: str) -> int:
        """Ask for a family's number, and use it from now on. The kernel loads the family's module if there is one.

        Raises OSError: ENOENT if the kernel has no such family.
        """
        body = _HEADER.pack(CTRL_CMD_GETFAMILY, CTRL_VERSION, 0) + CONTROLLER.encode({"family_name": family})
        numbers = [
            CONTROLLER.decode(attributes_of(answer)).get("family_id") for answer in self.request(GENL_ID_CTRL, body)
        ]
        if len(numbers) != 1 or not isinstance(numbers[0], int):
            raise MalformedAnswer(f"netlink: no number for the family {family}")
        self._family_id = numbers[0]
        return self._family_id

    def command(self, command: int, attributes: bytes) -> None:
        """Send a command and wait for its acknowledgement. Raises OSError."""
        self.request(self._family_id, _HEADER.pack(command, self._version, 0) + attributes)

    def dump_command(self, command: int, attributes: bytes) -> Iterator[Message]:
        """Ask for a dump; yield its messages as they come. Raises OSError."""
        return self.dump(self._family_id, _HEADER.pack(command, self._version, 0) + attributes)
