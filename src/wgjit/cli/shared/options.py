"""Options that several commands share: an option bundle is one decorator.

A bundle is made of a function. Its parameters are the options, and its result is the value that a command gets.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

Command = Callable[..., None]


def bundle(name: str, make: Callable[..., Any]) -> Callable[[Command], Command]:
    """A decorator that gives a command the options of `make`, and their result as its argument `name`.

    If the command itself has a parameter of the same name, such as an argument `interface`, `make` gets its value, too.
    """

    def decorate(command: Command) -> Command:
        own, shared = _parameters(command), _parameters(make)
        del own[name]

        @functools.wraps(command)
        def run(**values: Any) -> None:
            made = make(**{option: values[option] for option in shared})
            command(**{option: values[option] for option in own}, **{name: made})

        parameters = own | {option: each for option, each in shared.items() if option not in own}
        run.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
        run.__annotations__ = {option: each.annotation for option, each in parameters.items()}
        return run

    return decorate


def _parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    hints = get_type_hints(function, include_extras=True)
    return {
        name: each.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, each in inspect.signature(function).parameters.items()
    }
