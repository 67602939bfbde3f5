"""`wgjit config`: check and show settings before a gateway reads them."""

from __future__ import annotations

import codecs
import errno
import json
import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from wgjit.cli.shared.registry import ConfigFile, Json
from wgjit.config import Loaded, load
from wgjit.config.checks import Finding, check
from wgjit.config.environment import unknown_variables
from wgjit.config.files import TomlFile
from wgjit.config.key_file import unreadable
from wgjit.config.layers import DEFAULT, SECTIONS, Mistake, Origin
from wgjit.config.loading import examine
from wgjit.config.locate import SHARED, config_path, shared_path
from wgjit.config.reference import meanings
from wgjit.config.together import clashes
from wgjit.errors import ConfigError
from wgjit.wire.key_text import quoted

app = typer.Typer(name="config", help="Check and show settings before a gateway reads them.", no_args_is_help=True)


@app.command("check")
def check_(
    what: Annotated[
        list[str] | None,
        typer.Argument(metavar="[INTERFACE|FILE]...", help="What to check. By default all *.toml in /etc/wgjit."),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Count warnings as mistakes.")] = False,
    user: Annotated[
        str | None, typer.Option(metavar="ACCOUNT", help="Check as this account, such as the service's: wgjit.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check configuration files together with the settings from the environment. Exit status 1 if there is a mistake.

    The command changes and starts nothing. Besides the settings it checks key files, certificates, folders, and values
    that several interfaces cannot share. With --user it finds what that account may not read.
    """
    if user is not None:
        _become(user)
    folder = shared_path().parent
    if folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK):
        raise ConfigError(unreadable(folder, PermissionError(errno.EACCES, os.strerror(errno.EACCES))))
    files = [_file(one) for one in what] if what else sorted(folder.glob("*.toml"))
    if not files:
        raise ConfigError(f"{folder}: no *.toml in it; name a file")
    members: list[Loaded] = []
    findings: list[tuple[Path, Finding]] = []
    for path in files:
        loaded, found = _examine(path)
        members += loaded
        findings += [(path, one) for one in found]
    if len(members) > 1:
        shared = clashes([(one.interface, one.config, one.origin) for one in members])
        # A default has no file. Its clash is shown for the last file, since that one clashes with the earlier files.
        findings += [
            (Path(mistake.origin.name) if mistake.origin.kind == "file" else files[-1], Finding(mistake))
            for mistake in shared
        ]
    for told in unknown_variables():
        name, _, text = told.partition(": ")
        findings.append((files[0], Finding(Mistake(Origin("environment", name), "", text), is_warning=True)))
    failed = any(strict or not finding.is_warning for _, finding in findings)
    if as_json:
        print(json.dumps({"ok": not failed, "findings": [_as_dict(finding) for _, finding in findings]}))
    else:
        for line in _lines(files, members, findings):
            print(line)
    raise typer.Exit(1 if failed else 0)


@app.command()
def show(
    interface: Annotated[str, typer.Argument(help="The interface whose settings are shown.")] = "wg0",
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Show every setting of an interface: its value, where it comes from, and what it is for."""
    loaded = load(interface, config)
    for section, model in SECTIONS.items():
        for name in model.model_fields:
            setting = (section, name)
            value = loaded.config.model_dump(mode="json")[section][name]
            origin, meaning = loaded.origin(setting), meanings()[setting]
            if as_json:
                row = {"setting": ".".join(setting), "value": value, "from": str(origin), "meaning": meaning}
                print(json.dumps(row))
            else:
                print(f"{section}.{name} = {json.dumps(value)}  ({origin})\n    {meaning}")


def _become(name: str) -> None:
    """Be this account from now on, with its groups and without a capability. Raises ConfigError."""
    try:
        account = pwd.getpwnam(name)
    except KeyError:
        told = f"--user: no account {quoted(name)} on this machine"
        raise ConfigError(f"{told}; the service's is wgjit: docs/INSTALL.md makes it") from None
    if account.pw_uid == os.geteuid():
        return
    for codec in ("ascii", "utf-8"):  # loaded at their first use: the account may not reach this Python's folder
        codecs.lookup(codec)
    try:
        os.initgroups(name, account.pw_gid)
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)
    except PermissionError:
        raise ConfigError(f"--user: only root may check as {name}; run the command as root") from None


def _file(word: str) -> Path:
    """The configuration file that a path or an interface name means. Raises ConfigError if the interface has none."""
    path = Path(word)
    if "/" in word or path.suffix == ".toml":
        return path
    found = config_path(word, None)
    if found is None:
        raise ConfigError(f"{word}: has no configuration in {shared_path().parent}; all its settings are defaults")
    return found


def _examine(path: Path) -> tuple[list[Loaded], list[Finding]]:
    """The interfaces of a file, and the findings about them. Raises ConfigError if the file cannot be read."""
    file = TomlFile(path)
    if file.is_shared and not file.own and not file.mistakes:
        mistake = Mistake(Origin("file", str(path)), "interfaces", "lists no interface; add one: [interfaces.wg0]")
        return [], [Finding(mistake)]
    if path.name == SHARED and not file.is_shared and not file.mistakes:
        mistake = Mistake(Origin("file", str(path)), "", "lists no interface; add a section such as [interfaces.wg0]")
        return [], [Finding(mistake)]
    members: list[Loaded] = []
    findings: dict[Finding, None] = {}
    for interface in file.own or [path.stem]:
        loaded, mistakes = examine(interface, path)
        findings |= dict.fromkeys(map(Finding, mistakes))
        if loaded is not None:
            members.append(loaded)
            findings |= dict.fromkeys(check(loaded))
    return members, list(findings)


def _lines(files: list[Path], members: list[Loaded], findings: list[tuple[Path, Finding]]) -> Iterator[str]:
    for path in files:
        told = [finding for place, finding in findings if place == path]
        for mistake, is_warning in told:
            yield f"{mistake} (warning)" if is_warning else str(mistake)
        if all(finding.is_warning for finding in told):
            yield f"{path}: ok: {', '.join(one.interface for one in members if one.path == path)}"


def _as_dict(finding: Finding) -> dict[str, Any]:
    mistake = finding.mistake
    origin = None if mistake.origin == DEFAULT else mistake.origin
    return {
        "kind": "warning" if finding.is_warning else "mistake",
        "from": origin and origin.name,
        "line": origin and origin.line,
        "field": mistake.field or None,
        "text": mistake.text,
    }
