"""The place of a database: `wgjit.database_url`, which settings and commands use, too."""

from __future__ import annotations

from wgjit.database_url import DatabaseUrl

__all__ = ["DatabaseUrl"]
