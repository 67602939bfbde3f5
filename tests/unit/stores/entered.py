"""What the audit log has."""

from collections.abc import Iterable
from typing import Any

from wgjit.model import PublicKey
from wgjit.stores.base import Registry
from wgjit.stores.entries import AuditFilter


def entered(registry: Registry) -> Iterable[tuple[str, PublicKey | None, dict[str, Any]]]:
    """Verb, key and details of the whole audit log, oldest first."""
    return [(e.verb, e.public_key, dict(e.details)) for e in registry.audit.page(AuditFilter(), 1000).entries[::-1]]
