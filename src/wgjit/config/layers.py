"""Settings from several places, put over one another. The place of each setting is known.

The command line comes before the environment, the environment before the file, and the file before the default. A
mistake is reported for the place that has it, even if another place overrides it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, Protocol

from pydantic import BaseModel, ValidationError

from wgjit.config.settings import Config
from wgjit.config.validation import SettingsDisagree, cause, said
from wgjit.wire.key_text import without_keys

Setting = tuple[str, str]
"""Section and name."""
Values = dict[str, dict[str, Any]]
"""Section, name, and the value as it was written."""

SECTIONS: dict[str, type[BaseModel]] = {
    name: field.annotation
    for name, field in Config.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
"""The sections of a configuration, in the documents' order."""


class Origin(NamedTuple):
    """The place where a value is written."""

    kind: Literal["default", "file", "environment", "command line"]
    name: str = ""
    """The file, the variable or the option."""
    line: int | None = None

    def __str__(self) -> str:
        return self.kind if not self.name else self.name if self.line is None else f"{self.name}:{self.line}"


DEFAULT = Origin("default")


class Mistake(NamedTuple):
    """A mistake that keeps a gateway from starting."""

    origin: Origin
    field: str
    """The setting as it is written there, with the index of a list's entry; empty if there is no setting."""
    text: str
    """The problem, and what to do about it."""

    def __str__(self) -> str:
        named = self.origin.kind in ("environment", "command line")  # the variable or option shows the setting's name
        # A text in the wrong place may be a key. It may be a setting's name, or an error may quote it.
        told = (*(() if named else (without_keys(self.field),)), without_keys(self.text))
        return ": ".join(filter(None, ("" if self.origin == DEFAULT else str(self.origin), *told)))


class Layer(Protocol):
    """The settings from one place."""

    values: Values

    def origin(self, setting: Setting, index: int | None = None) -> Origin:
        """The place where the setting, or one of its entries, is written."""

    def field(self, setting: Setting) -> str:
        """The setting's name in this place."""


class Named:
    """Settings that have a name of their own each: variables, options."""

    def __init__(self, kind: Literal["environment", "command line"]) -> None:
        self.values: Values = {}
        self._kind: Literal["environment", "command line"] = kind
        self._names: dict[Setting, str] = {}

    def put(self, name: str, setting: Setting, value: Any) -> None:
        """Set a value. None removes the value that lower layers give."""
        section, key = setting
        self.values.setdefault(section, {})[key] = value
        self._names[setting] = name

    def origin(self, setting: Setting, index: int | None = None) -> Origin:
        """The variable or the option."""
        return Origin(self._kind, self._names[setting])

    def field(self, setting: Setting) -> str:
        """The setting's name as in the documents."""
        return ".".join(setting)


def validate(layers: Sequence[Layer]) -> tuple[Config | None, list[Mistake]]:
    """The configuration of these layers, the lowest first, or all their mistakes."""
    mistakes: dict[Mistake, None] = {}  # in order, without repetition
    for layer in layers:
        # A layer alone shows mistakes in single values. Whether values go together is checked with all layers.
        _try(layer.values, dict.fromkeys(_settings(layer), layer), mistakes, together=False)
    values: Values = {}
    owners: dict[Setting, Layer] = {}
    for layer in layers:
        for section, entries in layer.values.items():
            values.setdefault(section, {}).update(entries)
        owners |= dict.fromkeys(_settings(layer), layer)
    config = None if mistakes else _try(values, owners, mistakes, together=True)
    return config, list(mistakes)


def origins(layers: Iterable[Layer]) -> dict[Setting, Origin]:
    """The place of each setting that is set."""
    return {setting: layer.origin(setting) for layer in layers for setting in _settings(layer)}


def unknown(name: str, known: Iterable[str]) -> str:
    """The message about a name that does not exist."""
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"no such setting; did you mean {nearest[0]}?" if nearest else "no such setting"


def _settings(layer: Layer) -> list[Setting]:
    return [(section, name) for section, entries in layer.values.items() for name in entries]


def _try(
    values: Values, owners: Mapping[Setting, Layer], mistakes: dict[Mistake, None], *, together: bool
) -> Config | None:
    values = {s: {n: v for n, v in entries.items() if v is not None} for s, entries in values.items()}
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        found: dict[tuple[Setting, int | None], list[str]] = {}
        for entry in error.errors(include_url=False, include_input=False):
            text = said(entry)
            if isinstance(disagreement := cause(entry), SettingsDisagree):
                if together:
                    setting, text = _subject(disagreement, owners)
                    found.setdefault((setting, None), []).append(text)
                continue
            section, name, *rest = entry["loc"]
            index = rest[0] if rest and isinstance(rest[0], int) else None
            found.setdefault(((str(section), str(name)), index), []).append(text[:1].lower() + text[1:])
        for (setting, index), texts in found.items():
            mistakes[_mistake(owners.get(setting), setting, index, " or ".join(texts))] = None
    return None


def _mistake(owner: Layer | None, setting: Setting, index: int | None, text: str) -> Mistake:
    name = ".".join(setting) if owner is None else owner.field(setting)
    if index is not None and owner is not None and owner.origin(setting).kind != "file":
        text = f"entry {index + 1}: {text}"
    origin = DEFAULT if owner is None else owner.origin(setting, index)
    return Mistake(origin, name if index is None else f"{name}.{index}", text)


def _subject(error: SettingsDisagree, owners: Mapping[Setting, Layer]) -> tuple[Setting, str]:
    """The setting for which an error on several settings is reported, and the text.

    It is the first setting, or, if the first has its default, the first that is set.
    """
    first = error.settings[0]
    set_by_somebody = next((setting for setting in error.settings if setting in owners), first)
    return (first, error.text) if set_by_somebody == first else (set_by_somebody, str(error))
