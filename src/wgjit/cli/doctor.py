"""`wgjit doctor`: show what this machine can do, and which delivery a gateway takes here."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from wgjit.config import InterfaceSettings, load
from wgjit.control import client
from wgjit.control.status import GatewayStatus
from wgjit.doctor.choice import Account, Choice, Fact, Finding, advise, choose_delivery, examine, obstacles
from wgjit.doctor.service import look_at_service
from wgjit.drivers.wireguard.open import open_device
from wgjit.errors import ConfigError, DeviceError, WgjitError
from wgjit.wire.key_text import quoted

_SHOWN = {True: "[green]yes[/]", False: "[red]no[/]", None: "[yellow]?[/]"}


def doctor(
    interface: Annotated[
        str | None, typer.Argument(help="Also check this interface's port, and the service addresses of its settings.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(envvar="WGJIT_CONFIG", help="The TOML file, as for `wgjit up`.")
    ] = None,
    user: Annotated[
        str | None,
        typer.Option(
            metavar="ACCOUNT",
            help="Try what root may and this account may not, as this account. By default the service's, wgjit, if "
            "root asks and there is one.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what this machine can do, which delivery `auto` takes and why, and what would make it better.

    Exit status 1 if no gateway can run here.
    """
    account = _account(user)
    port, mark = _about(interface) if interface else (None, 0)
    findings = examine(interface, port, account)
    if interface:
        findings += _service(interface, config, mark)
    running = _running(interface) if interface else None
    routes = None if running is None else running.routes
    troubles = None if running is None else running.troubled_by
    choice, hindered = choose_delivery(findings), obstacles(findings)
    advice = advise(findings)
    if as_json:
        of_the_running = {"routes": routes, "troubled_by": troubles}
        told = {name: value for name, value in of_the_running.items() if value}
        print(json.dumps({**_answer(findings, choice, hindered, advice), **told}))
    else:
        _show(findings, choice, hindered, advice)
        if routes:
            _show_routes(routes)
        for why in (troubles or {}).values():
            print(f"the running gateway is troubled: {why} (docs/TROUBLE.md)")
    raise typer.Exit(1 if hindered else 0)


_SERVICE = "wgjit"
"""The account that packaging/wgjit.sysusers.conf makes."""


def _account(name: str | None) -> Account | None:
    """The account to try things as; None is this process's own. Raises ConfigError."""
    if name is None and os.geteuid() != 0:
        return None
    try:
        found = pwd.getpwnam(_SERVICE if name is None else name)
    except KeyError:
        if name is None:
            return None
        raise ConfigError(f"--user: no account {quoted(name)} on this machine; docs/INSTALL.md makes wgjit") from None
    if found.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise ConfigError(f"--user: only root may try as {found.pw_name}; run the command as root")
    return Account(found.pw_name, found.pw_uid, found.pw_gid)


def _about(interface: str) -> tuple[int, int]:
    """The port that the interface listens on, and its mark. If the interface cannot be read, the default port and 0."""
    try:
        with closing(open_device(interface)) as device:
            info = device.info()
            return info.listen_port, info.fwmark
    except DeviceError:
        return InterfaceSettings().listen_port, 0


def _service(interface: str, config: Path | None, mark: int) -> list[Finding]:
    """What there is to say about service addresses; empty without any."""
    try:
        shared = load(interface, config).config.takeover.addresses
    except ConfigError as error:
        return [Finding(Fact.SERVICE_ADDRESS, None, f"the settings cannot be used: {error}")]
    return [look_at_service(shared, mark)] if shared else []


def _running(interface: str) -> GatewayStatus | None:
    """The status of the running gateway; None if none runs that this user may ask."""
    with suppress(WgjitError):
        return asyncio.run(client.status(interface))
    return None


def _show_routes(routes: Mapping[str, int]) -> None:
    """Say how the running gateway's routes are, and what to do if some are missing."""
    print(f"routes: {routes['there']} of {routes['wanted']} are in the kernel, {routes['waiting']} under way")
    if routes["failing"]:
        print(f"  {routes['failing']} fail and are tried again each second: the gateway's log says why (part=routes)")
    if routes["left_out"]:
        print(f"  {routes['left_out']} prefixes get none, since it would do harm: the gateway's log names them")
    if routes["put_back"]:
        print(f"  {routes['put_back']} were put back: another program takes them away (docs/ROUTING.md, other traps)")


def _answer(findings: list[Finding], choice: Choice, hindered: list[str], advice: list[str]) -> dict[str, object]:
    return {
        "can_run": not hindered,
        "delivery": choice.delivery.value,
        "backend": choice.backend,
        "why": choice.why,
        "findings": [{"name": f.name.value, "ok": f.ok, "detail": f.detail} for f in findings],
        "obstacles": hindered,
        "advice": advice,
    }


def _show(findings: list[Finding], choice: Choice, hindered: list[str], advice: list[str]) -> None:
    console = Console()
    table = Table(box=None, show_header=False, pad_edge=False)
    for finding in findings:
        table.add_row(finding.name.value.replace("_", " "), _SHOWN[finding.ok], escape(finding.detail))
    console.print(table)
    console.print()
    if hindered:
        console.print("[red]No gateway can run here[/]")
        for obstacle in hindered:
            console.print(f"  {obstacle}", highlight=False, markup=False)
    else:
        kind = f" ({choice.backend})" if choice.backend else ""
        console.print(f"delivery auto takes [bold]{choice.delivery.value}[/]{kind}: {choice.why}", highlight=False)
    for line in advice:
        console.print(f"  better with: {line}", highlight=False)
