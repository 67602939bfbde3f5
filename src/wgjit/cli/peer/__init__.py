"""`wgjit peer`: register, show, change and remove peers.

| module     | what is inside                                      |
| ---------- | --------------------------------------------------- |
| `commands` | the command group; `peer set`, `enable`, `disable`  |
| `add`      | `peer add`, `rotate`                                |
| `listing`  | `peer list`, `find`, `show`                         |
| `where`    | `peer where`                                        |
| `remove`   | `peer remove`                                       |
| `bring`    | `peer import`                                       |
| `export`   | `peer export`                                       |
| `values`   | the options that describe a peer                    |
| `describe` | a peer as text for people                           |
| `outlet`   | writes a client's configuration to file and QR code |
"""

from __future__ import annotations

from wgjit.cli.peer.commands import app

__all__ = ["app"]
