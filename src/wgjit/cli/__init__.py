"""The command `wgjit`: one module per command group."""

from __future__ import annotations


def main() -> None:
    """Entry point of the console script."""
