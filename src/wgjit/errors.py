"""Every exception type of wgjit. Imports nothing.

An exception means broken machinery or a mistake of the caller. An expected "no" to a packet is never an
exception: it is a `wgjit.refusal.Refusal`.

Rule for messages: name the field or thing that is wrong, then the fix. Never a secret. Nothing parses a message: what a
program has to know of an error is its type and its attributes.
"""

from __future__ import annotations


class WgjitError(Exception):
    """Base of all errors that wgjit raises on purpose; the command line prints them and exits non-zero."""

    def __init__(self, text: str, *, field: str | None = None, advice: str | None = None) -> None:
        """`field` is what the error is about, as JSON, a setting or an option calls it. `advice` is for people who have
        the command line; it is printed behind the text."""
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
    """A value given by a person or a program is malformed: a key, a prefix, a setting."""


class ConfigError(WgjitError):
    """The configuration or an option is wrong."""

    names_field = True


# --- stores -------------------------------------------------------------------------------------------------


class StoreError(WgjitError):
    """The registry could not be asked or written. Never the same as "no such peer"."""


class StoreBusy(StoreError):
    """Another process holds the registry's lock for longer than the timeout."""


class StoreUnreachable(StoreError):
    """A registry elsewhere gave no answer; `retry_after`: seconds for which it wants peace, if it says so."""

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class StoreThrottled(StoreUnreachable):
    """A registry elsewhere is well, and wants fewer requests (429)."""


class StoreDeferred(StoreError):
    """A registry elsewhere was not asked, since knocks come first: ask again, later."""


class PeerRefused(StoreError):
    """A peer cannot be registered beside those that are; `public_key` (32 raw bytes) is the newcomer's."""

    def __init__(self, text: str, public_key: bytes, *, field: str | None = None) -> None:
        super().__init__(text, field=field)
        self.public_key = public_key


class PeerExists(PeerRefused):
    """A peer with this public key or name is registered already."""


class NoSuchPeer(StoreError):
    """An update or removal named a peer that is not registered."""


class AddressConflict(PeerRefused):
    """Two peers would own overlapping allowed IPs; the text names both."""


class PoolExhausted(StoreError):
    """No address of a pool is free."""


class TokenExists(StoreError):
    """A token of this name was made before."""


class NoSuchToken(StoreError):
    """No token has this name or id."""


class AmbiguousHandle(StoreError):
    """More than one peer's key begins as the handle does; the text names them."""


# --- drivers ------------------------------------------------------------------------------------------------


class DeviceError(WgjitError):
    """The WireGuard interface refused or failed an operation. `field`, if it is set, is the interface."""

    names_field = True


class NoSuchDevice(DeviceError):
    """There is no WireGuard interface of this name (any more)."""


class DeviceFull(DeviceError):
    """The kernel cannot take another peer: 2^20 peers a device, or out of memory."""


class MalformedAnswer(DeviceError):
    """The interface's kernel or process answered with something that is not its protocol."""


class NotPermitted(DeviceError):
    """CAP_NET_ADMIN (or CAP_NET_RAW, CAP_BPF) is missing."""


class CaptureError(WgjitError):
    """Initiations cannot be captured: socket, filter, queue or firewall rule refused."""


class InjectError(WgjitError):
    """A captured packet could not be put back into the kernel."""


# --- daemon and its clients ---------------------------------------------------------------------------------


class GatewayUnavailable(WgjitError):
    """No gateway answers on the control socket of this interface."""


class GatewayRunning(WgjitError):
    """Another gateway holds this interface; the text names its process."""
