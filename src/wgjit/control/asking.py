"""Asks a running gateway without an event loop. Imports little, since `wgjit health` may be started each second."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from typing import Any

from wgjit.control.health import Health
from wgjit.control.socket import interfaces, socket_path
from wgjit.errors import ConfigError, GatewayUnavailable, NotInFleet, NotPermitted, WgjitError

PATIENCE = 3.0
"""Seconds for an answer. A loop that does not answer within this time lets no client in either."""

_MOST = 1 << 20
"""Bytes of an answer."""


def shown(text: object) -> str:
    """A text for people without keys. Its module is loaded only for a text that may hold one: that takes a while."""
    told = str(text)
    if len(told) < 43 and ":" not in told:
        return told
    from wgjit.wire import key_text

    return key_text.shown(told)


def the_gateway(interface: str | None) -> str:
    """The interface that is named, else that of the only gateway here. Raises ConfigError, GatewayUnavailable."""
    if interface is not None:
        return interface
    found = interfaces()
    if not found:
        raise GatewayUnavailable("no gateway runs here; start one with `wgjit up`")
    if len(found) > 1:
        raise ConfigError(f"several gateways run here; name one: {', '.join(map(shown, found))}")
    return found[0]


def answers(interface: str, question: str, patience: float = PATIENCE) -> Iterator[dict[str, Any]]:
    """The answers of the gateway on this interface, as they come; it waits `patience` seconds for each at most.

    Raises GatewayUnavailable if no gateway runs, if it does not answer, or if it refuses; NotInFleet, NotPermitted,
    ConfigError.
    """
    path, name = socket_path(interface), shown(interface)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as link:
        link.settimeout(patience)
        try:
            link.connect(os.fspath(path))
            link.sendall(json.dumps({"ask": question}).encode() + b"\n")
            with link.makefile("rb") as lines:
                while line := lines.readline(_MOST):
                    yield _said(name, line)
        except (FileNotFoundError, ConnectionRefusedError):
            raise GatewayUnavailable(f"{name}: no gateway runs on it; start one with `wgjit up {name}`") from None
        except PermissionError:
            raise NotPermitted(f"{shown(path)}: permission denied; ask as the user that the gateway runs as") from None
        except TimeoutError:
            raise GatewayUnavailable(f"{name}: the gateway does not answer; see its log") from None
        except (BrokenPipeError, ConnectionResetError):
            raise GatewayUnavailable(f"{name}: the gateway hung up") from None
        except OSError as error:
            raise ConfigError(f"{shown(path)}: {error}") from None


def _said(name: str, line: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(line)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise GatewayUnavailable(f"{name}: the gateway's answer is no JSON object; start it again with this wgjit")
    if "error" in answer:
        raise refusal(name, answer)
    return answer


def refusal(name: str, answer: dict[str, Any]) -> WgjitError:
    """The error for an answer that tells why the gateway does not do what it was asked for."""
    kind = NotInFleet if answer.get("kind") == NotInFleet.__name__ else GatewayUnavailable
    return kind(f"{name}: {answer['error']}")


def health(interface: str, patience: float = PATIENCE) -> Health:
    """The health of the gateway on this interface. One that cannot be asked is unhealthy. Raises nothing."""
    began = time.monotonic()
    try:
        for answer in answers(interface, "health", patience):
            return Health.from_dict(answer)
        told = "the gateway hung up without an answer"
    except KeyError:
        told = "the gateway's answer is no health; start it again with this wgjit"
    except WgjitError as error:
        told = str(error).removeprefix(f"{interface}: ")
    if time.monotonic() - began >= patience:
        told = f"no answer within {patience:g} s; see the gateway's log"
    return Health(shown(interface), {"gateway": told})


# --- wgjit health -----------------------------------------------------------------------------------------------------


def report(interface: str | None = None, *, as_json: bool = False) -> int:
    """Print the health of a gateway or, without a name, of each gateway here: a line each. Returns the exit status."""
    found = look(interface)
    for each in found:
        print(json.dumps(each.as_dict()) if as_json else each.line(), flush=True)
    return 0 if all(each.is_healthy for each in found) else 1


def follow(interface: str | None = None, *, pause: float = 1.0, as_json: bool = False) -> None:
    """As `report`, again and again with a pause of so many seconds; only what has changed is printed. Never returns."""
    told: dict[str, Health] = {}
    while True:
        found = {each.interface: each for each in look(interface)}
        for name, each in found.items():
            before = told.get(name)
            if before is None or before.failing.keys() != each.failing.keys():
                print(json.dumps(each.as_dict()) if as_json else each.line(), flush=True)
        told = found
        time.sleep(pause)


def look(interface: str | None) -> list[Health]:
    """The health of a gateway or, without a name, of each gateway here."""
    names = interfaces() if interface is None else [interface]
    return [health(name) for name in names] or [Health("wgjit", {"gateway": "no gateway runs here"})]
