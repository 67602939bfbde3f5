"""Settings from environment variables: WGJIT_GATEWAY_CAPACITY is gateway.capacity.

Commas separate the entries of a list. An empty variable counts as absent, so that a container's template can leave it
empty. WGJIT_STORE is short for the store, as `store = "..."` is in the file.
"""

from __future__ import annotations

import difflib
import os
import typing
from collections.abc import Mapping

from wgjit.config.layers import SECTIONS, Named, Setting
from wgjit.config.settings import store_in_short
from wgjit.database_url import is_database_url

PREFIX = "WGJIT_"
OTHERS = ("WGJIT_STORE", "WGJIT_CONFIG", "WGJIT_RUN_FOLDER")
"""Variables that are no setting, or several settings."""
_FOR_DEVELOPERS = ("WGJIT_VENV", "WGJIT_GUEST", "WGJIT_TEST")
"""Beginnings of the variables that the checkout's own commands use."""

VARIABLES: dict[str, Setting] = {
    f"{PREFIX}{section}_{name}".upper(): (section, name)
    for section, model in SECTIONS.items()
    for name in model.model_fields
}
"""The variable of each setting."""


def from_environment(environment: Mapping[str, str] = os.environ) -> Named:
    """The settings that variables give. Their values are not checked yet."""
    layer = Named("environment")
    if short := environment.get("WGJIT_STORE"):
        put_store(layer, "WGJIT_STORE", short)
    for variable, setting in VARIABLES.items():
        if text := environment.get(variable):
            value = [entry.strip() for entry in text.split(",") if entry.strip()] if is_list(setting) else text
            layer.put(variable, setting, value)
    return layer


def put_store(layer: Named, name: str, text: str) -> None:
    """Set the store by a file's name or an address. What lower layers say of another place does not stay."""
    given = store_in_short(text)
    for key in ("path", "url", "read_url", *(("token_file", "ca_file") if is_database_url(text) else ())):
        layer.put(name, ("store", key), given.get(key))


def unknown_variables(environment: Mapping[str, str] = os.environ) -> list[str]:
    """Messages about variables that begin as wgjit's do but are unknown. The messages never hold values.

    Unknown variables are no mistakes: Kubernetes sets WGJIT_PORT in every pod if there is a service of this name.
    """
    known = [*VARIABLES, *OTHERS]
    told = []
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name in known or name.startswith(_FOR_DEVELOPERS):
            continue
        nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        told.append(f"{name}: no such variable" + (f"; did you mean {nearest[0]}?" if nearest else ""))
    return told


def is_list(setting: Setting) -> bool:
    """Whether the setting is a list."""
    annotation = SECTIONS[setting[0]].model_fields[setting[1]].annotation
    return typing.get_origin(annotation) is list
