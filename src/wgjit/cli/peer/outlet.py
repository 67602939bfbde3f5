"""Writes a client's configuration to a file, as a QR code in the terminal, or as a QR code in an image.

The configuration holds the client's private key, which is stored nowhere else. So files are made with mode 0600 and
never overwrite a file. They are written before the registration is committed, so that no peer is registered whose
private key was lost.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import segno

from wgjit.errors import ConfigError
from wgjit.wire.key_text import shown


@dataclass(slots=True)
class Outlet:
    """Where a client's configuration is written."""

    output: Path | None = None
    qr: bool = False
    qr_file: Path | None = None
    _written: list[Path] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.qr_file is not None and self.qr_file.suffix not in (".png", ".svg"):
            raise ConfigError(f"--qr-file {shown(self.qr_file)}: its name must end with .png or .svg")

    @property
    def is_given(self) -> bool:
        """Whether an option asks for a file or a QR code. If not, the configuration is printed as text."""
        return self.output is not None or self.qr or self.qr_file is not None

    @property
    def wants_code(self) -> bool:
        """Whether a QR code is wanted."""
        return self.qr or self.qr_file is not None

    @contextlib.contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """Delete the written files if the block fails."""
        try:
            yield
        except BaseException:
            for path in self._written:
                with contextlib.suppress(OSError):
                    path.unlink()
            raise

    def write(self, text: str) -> None:
        """Write the wanted files. Raises ConfigError."""
        if self.output is not None:
            self._make(self.output, "--output", text.encode())
        if self.qr_file is not None:
            image = io.BytesIO()
            # Black on white, whatever background the viewer has.
            _code(text).save(image, kind=self.qr_file.suffix[1:], scale=6, light="white")
            self._make(self.qr_file, "--qr-file", image.getvalue())

    def drawing(self, text: str) -> str:
        """The QR code as text for a terminal. Raises ConfigError."""
        lines = io.StringIO()
        _code(text).terminal(lines, compact=True)
        return lines.getvalue()

    def _make(self, path: Path, option: str, content: bytes) -> None:
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            raise ConfigError(f"{option} {shown(path)}: exists already; remove it or give another name") from None
        except OSError as error:
            raise ConfigError(f"{option} {shown(path)}: {error.strerror}") from None
        self._written.append(path)
        try:
            with open(file, "wb") as out:
                out.write(content)
                out.flush()
                os.fsync(file)
        except OSError as error:
            raise ConfigError(f"{option} {shown(path)}: {error.strerror}") from None


def _code(text: str) -> segno.QRCode:
    try:
        return segno.make_qr(text, error="l", boost_error=False)
    except segno.DataOverflowError:
        raise ConfigError(
            "client.allowed_ips: the configuration is too long for a QR code; list fewer prefixes, or use --output"
        ) from None
