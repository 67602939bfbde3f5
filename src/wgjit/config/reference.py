"""The explanations of the settings, for people. Each setting's explanation is the text below it in `settings`."""

from __future__ import annotations

import ast
import inspect
from functools import cache

from wgjit.config.layers import SECTIONS, Setting


@cache
def meanings() -> dict[Setting, str]:
    """Unit and reason of each setting, in one line."""
    found: dict[Setting, str] = {}
    for section, model in SECTIONS.items():
        (tree,) = ast.parse(inspect.getsource(model)).body
        assert isinstance(tree, ast.ClassDef)
        for statement, following in zip(tree.body, tree.body[1:], strict=False):
            if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
                continue
            text = following.value if isinstance(following, ast.Expr) else None
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                found[section, statement.target.id] = " ".join(text.value.split())
    return found
