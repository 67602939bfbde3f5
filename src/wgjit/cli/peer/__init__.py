"""`wgjit peer`: hand tunnels out, look at peers, change them.

| module     | what is inside                             |
| ---------- | ------------------------------------------ |
| `commands` | the group; `peer set`, `enable`, `disable` |
| `add`      | `peer add`, `rotate`                       |
| `listing`  | `peer list`, `find`, `show`                |
| `remove`   | `peer remove`                              |
| `bring`    | `peer import`                              |
| `export`   | `peer export`                              |
| `values`   | a peer's values as options give them       |
| `describe` | a peer as people are shown it              |
| `outlet`   | where a client's configuration goes        |
"""

from __future__ import annotations

from wgjit.cli.peer.commands import app

__all__ = ["app"]
