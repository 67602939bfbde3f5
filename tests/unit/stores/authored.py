"""A ManagedRegistry in the hands of one author, with the verbs of a plain Registry beside its own."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

from wgjit.model import Peer, PublicKey
from wgjit.stores import checks
from wgjit.stores.audit import Author
from wgjit.stores.managed import ManagedRegistry

TESTER = Author("tester")


def _signed(name: str) -> Callable[..., Any]:
    method = getattr(ManagedRegistry, name)

    @functools.wraps(method)
    def call(self: ManagedRegistry, *args: Any, **more: Any) -> Any:
        return method(self, *args, **{"by": TESTER} | more)

    return call


class Authored(ManagedRegistry):
    """For tests that are not about who changes what; each change is one of ManagedRegistry's own."""

    hand_out = _signed("hand_out")
    amend = _signed("amend")
    rotate = _signed("rotate")
    remove_all = _signed("remove_all")
    remove_fitting = _signed("remove_fitting")
    load = _signed("load")
    add = _signed("adopt")

    def replace(self, peer: Peer) -> None:
        self.amend(peer.public_key, lambda _: peer, {})

    def change(self, handle: str, how: Callable[[Peer], Peer]) -> Peer:
        return self.amend(self.find(handle).public_key, how, {}).peer

    def remove(self, key: PublicKey) -> None:
        if not self.remove_all([key]):
            raise checks.no_such_peer(str(key))

    def reset_claim(self, key: PublicKey) -> bool:
        return super().reset_claim(key, by=TESTER) is not None


def entered(registry: ManagedRegistry) -> Iterable[tuple[str, PublicKey | None, dict[str, Any]]]:
    """Verb, key and details of the whole audit log, oldest first."""
    from wgjit.stores.audit import AuditFilter

    return [(e.verb, e.public_key, dict(e.details)) for e in registry.audit_entries(AuditFilter(), 1000).entries[::-1]]
