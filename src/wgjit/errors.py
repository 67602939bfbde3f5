"""All exception types of wgjit. Imports nothing.

An exception means that something failed, or that the caller made a mistake. An expected "no" to a packet is never an
exception but a `wgjit.refusal.Refusal`.

A message names the field or thing that is wrong, then the fix. It never contains a secret. No program parses a message:
an error's type and attributes tell everything that a program has to know.
"""

from __future__ import annotations


class WgjitError(Exception):
    """The base of all errors that wgjit raises on purpose. The command line prints them and exits non-zero."""

    def __init__(self, text: str, *, field: str | None = None, advice: str | None = None) -> None:
        """`field`: the field that is wrong, by its name in JSON, in the settings or as an option. `advice`: for users
        of the command line; printed after the text."""
        super().__init__(text)
        self.text = text
        self.field = field
        self.advice = advice

    names_field = False
    """Whether the field is printed before the text."""

    @property
    def told(self) -> str:
        """What is wrong, without the advice."""
        return f"{self.field}: {self.text}" if self.names_field and self.field is not None else self.text

    def __str__(self) -> str:
        return self.told if self.advice is None else f"{self.told}; {self.advice}"


class InvalidValue(WgjitError, ValueError):
    """A value from a person or a program is malformed: a key, a prefix, a setting."""


class ConfigError(WgjitError):
    """The configuration or an option is wrong."""

    names_field = True


# --- stores -------------------------------------------------------------------------------------------------


class StoreError(WgjitError):
    """The registry could not be read or written. This never means "no such peer"."""


class StoreBusy(StoreError):
    """Another process holds the registry's lock for longer than the timeout, or a database is too slow."""


class StoreDamaged(StoreError):
    """The registry's file is damaged, or is no database."""


class StoreMissing(StoreError):
    """The registry's file does not exist, or no longer."""


class StoreUnreachable(StoreError):
    """A remote registry or a database gave no answer.

    `retry_after`: seconds to wait before the next request, if it says so.
    """

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class StoreThrottled(StoreUnreachable):
    """A remote registry works, but wants fewer requests (429)."""


class StoreDeferred(StoreError):
    """A remote registry was not asked, since knocks come first. Ask again later."""


class PeerRefused(StoreError):
    """A registered peer is in the way of a new one. `public_key` (32 raw bytes) is the new peer's, `other` its key."""

    def __init__(self, text: str, public_key: bytes, *, field: str | None = None, other: bytes | None = None) -> None:
        super().__init__(text, field=field)
        self.public_key = public_key
        self.other = other


class PeerExists(PeerRefused):
    """A peer with this public key or name is registered already."""


class NoSuchPeer(StoreError):
    """An update or removal named a peer that is not registered."""


class AddressConflict(PeerRefused):
    """Two peers would own overlapping allowed IPs; the text names both."""


class PoolExhausted(StoreError):
    """No address of a pool is free."""


class TokenExists(StoreError):
    """A token with this name exists already."""


class NoSuchToken(StoreError):
    """No token has this name or id."""


class NoSuchGateway(StoreError):
    """No gateway of the fleet has this name."""


class GatewayLives(StoreError):
    """A gateway that is to be forgotten still writes to the registry."""


class GatewayNameTaken(StoreError):
    """Another living gateway of the fleet has this gateway's name."""


class AmbiguousHandle(StoreError):
    """The keys of several peers begin with the handle. The text names them."""


# --- drivers ------------------------------------------------------------------------------------------------


class DeviceError(WgjitError):
    """The WireGuard interface refused or failed an operation. `field`, if it is set, is the interface."""

    names_field = True


class NoSuchDevice(DeviceError):
    """There is no WireGuard interface with this name, or no longer."""


class DeviceFull(DeviceError):
    """The kernel cannot take another peer: 2^20 peers a device, or out of memory."""


class MalformedAnswer(DeviceError):
    """The interface's kernel or process gave an answer that does not follow its protocol."""


class NotPermitted(DeviceError):
    """CAP_NET_ADMIN (or CAP_NET_RAW, CAP_BPF) is missing."""


class CaptureError(WgjitError):
    """Initiations cannot be captured: a socket, filter, queue or firewall rule was refused."""


class RouteError(WgjitError):
    """A route could not be put in or taken away, or the kernel's routes could not be read."""


class InjectError(WgjitError):
    """A captured packet could not be put back into the kernel."""


# --- daemon and its clients ---------------------------------------------------------------------------------


class NotInFleet(WgjitError):
    """Only a gateway of a fleet can do this."""


class GatewayUnavailable(WgjitError):
    """No gateway answers on the control socket of this interface."""


class GatewayRunning(WgjitError):
    """Another gateway holds this interface. The text names its process."""
