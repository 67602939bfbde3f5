"""An option bundle is one decorator; `wgjit --version`."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from tests.unit.cli.conftest import Run
from wgjit.cli.shared.options import bundle

Colour = Annotated[str, typer.Option("--colour", help="Of all.")]


def _paint(colour: Colour = "red", name: Annotated[str, typer.Option("--name")] = "nobody") -> str:
    return f"{name} in {colour}"


painted = bundle("paint", _paint)


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @painted
    def show(times: Annotated[int, typer.Option("--times")] = 1, *, paint: str) -> None:
        print("; ".join([paint] * times))

    @app.command()
    @painted
    def greet(name: Annotated[str, typer.Argument()], *, paint: str) -> None:
        print(f"{name}: {paint}")

    return app


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["show"], "nobody in red"),
        (["show", "--colour", "blue", "--times", "2"], "nobody in blue; nobody in blue"),
        (["greet", "alice", "--colour", "blue"], "alice: alice in blue"),
    ],
)
def test_a_command_gets_what_the_bundle_makes_of_its_options(
    app: typer.Typer, arguments: list[str], printed: str
) -> None:
    result = CliRunner().invoke(app, arguments)
    assert (result.exit_code, result.output.strip()) == (0, printed)


def test_a_parameter_of_the_command_takes_the_place_of_the_bundles(app: typer.Typer) -> None:
    told = CliRunner().invoke(app, ["greet", "--help"]).output
    assert "--colour" in told
    assert "--name" not in told


def test_the_command_tells_its_version(wgjit: Run) -> None:
    assert wgjit("--version") == (0, f"wgjit {version('wgjit')}\n", "")
    status, out, _ = wgjit("--help")
    assert (status, "--version" in out) == (0, True)
