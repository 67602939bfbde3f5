"""Whether a gateway is fit to serve clients, as it says on its control socket. Imports little, not even
dataclasses: see `asking`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Health(NamedTuple):
    """A gateway's health at one moment."""

    interface: str
    failing: Mapping[str, str]
    """The checks that fail, and why, for people. docs/LEAVING.md lists the checks."""

    @property
    def is_healthy(self) -> bool:
        """Whether no check fails."""
        return not self.failing

    def as_dict(self) -> dict[str, Any]:
        """The form for programs: what `wgjit health --json` prints."""
        return {"interface": self.interface, "healthy": self.is_healthy, "failing": dict(self.failing)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Health:
        """Read the form for programs. Raises KeyError if it is none."""
        return cls(values["interface"], values["failing"])

    def line(self) -> str:
        """One line for people."""
        if self.is_healthy:
            return f"{self.interface}: healthy"
        return f"{self.interface}: unhealthy: " + "; ".join(f"{name}: {why}" for name, why in self.failing.items())
