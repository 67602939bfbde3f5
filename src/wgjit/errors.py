"""Every exception type of wgjit. Imports nothing.

An exception means broken machinery or a mistake of the caller. An expected "no" to a packet is never an
exception: it is a `wgjit.refusal.Refusal`.

Rule for messages: name the field or thing that is wrong, then the fix. Never a secret.
"""

from __future__ import annotations


class WgjitError(Exception):
    """Base of all errors that wgjit raises on purpose; the command line prints its text and exits non-zero."""


class InvalidValue(WgjitError, ValueError):
    """A value given by a person or a program is malformed: a key, a prefix, a setting."""


class ConfigError(WgjitError):
    """The configuration file or an option is wrong; the text names the field."""


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

    def __init__(self, text: str, public_key: bytes) -> None:
        super().__init__(text)
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
    """The WireGuard interface refused or failed an operation."""


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
