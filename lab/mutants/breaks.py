"""The breaks of a module: cosmic-ray's operators, without those whose breaks say nothing, and two of our own.

A break is an operator and the number of the place where it is applied, counted from the beginning of the module.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any, NamedTuple

import parso
from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator
from cosmic_ray.plugins import get_operator

_COMPARISONS = ("Eq_NotEq", "NotEq_Eq", "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt", "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt")
_IDENTITIES = ("Is_IsNot", "IsNot_Is")
_BINARY = (
    "Add_Sub",
    "Sub_Add",
    "Mul_Div",
    "Div_Mul",
    "FloorDiv_Mul",
    "Mod_Mul",
    "Pow_Mul",
    "LShift_RShift",
    "RShift_LShift",
    "BitOr_BitAnd",
    "BitAnd_BitOr",
    "BitXor_BitAnd",
)
_CORE = (
    *(f"ReplaceComparisonOperator_{pair}" for pair in (*_COMPARISONS, *_IDENTITIES)),
    *(f"ReplaceBinaryOperator_{pair}" for pair in _BINARY),
    "ReplaceUnaryOperator_USub_UAdd",
    "ReplaceUnaryOperator_Delete_Not",
    "AddNot",
    "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue",
    "ReplaceAndWithOr",
    "ReplaceOrWithAnd",
    "ReplaceBreakWithContinue",
    "ReplaceContinueWithBreak",
    "ExceptionReplacer",
    "NumberReplacer",
    "ZeroIterationForLoop",
)
"""One break, or both sides of a limit, for each operator. cosmic-ray has more: all other pairs are noticed together
with these, or not at all."""


class RemoveStatement(Operator):
    """Leaves out a call, or an assignment to an attribute or an item, that is a statement of its own."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        if _is_effect(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        return parso.parse(node.get_first_leaf().prefix + "None")

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


class SwapMembership(Operator):
    """Makes `not in` of `in`, and the other way round."""

    def mutation_positions(self, node: Any) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        if node.type == "comparison" and node.children[1].get_code().split() in (["in"], ["not", "in"]):
            yield node.children[1].start_pos, node.children[1].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        negated = len(node.children[1].get_code().split()) == 2
        node.children[1] = parso.parse(" in" if negated else " not in")
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        return ()


_OWN = {"RemoveStatement": RemoveStatement, "SwapMembership": SwapMembership}


class Break(NamedTuple):
    """One break of a module."""

    operator: str
    occurrence: int
    start: tuple[int, int]
    """Line from 1, column from 0."""
    end: tuple[int, int]


def _operator(name: str) -> Any:
    return _OWN[name]() if name in _OWN else get_operator(f"core/{name}")()


def breaks(source: str) -> list[Break]:
    """All breaks of a module's text, in the order of its lines."""
    tree, meaningless = get_ast(source), _meaningless(source)
    found = []
    for name in (*_CORE, *_OWN):
        operator = _operator(name)
        places = (place for node in ast_nodes(tree) for place in operator.mutation_positions(node))
        for occurrence, (start, end) in enumerate(places):
            one = Break(name, occurrence, start, end)
            if not any(begin <= start and end <= until for begin, until in meaningless) and _can_be_made(source, one):
                found.append(one)
    return sorted(found, key=lambda one: (one.start, one.operator, one.occurrence))


def broken(source: str, one: Break) -> str:
    """The module's text with this break."""
    text = mutate_code(source, _operator(one.operator), one.occurrence)
    assert text is not None, "the break is of another text"
    return str(text)


def _can_be_made(source: str, one: Break) -> bool:
    """cosmic-ray 8.7 stumbles over a dotted name in `except (a.b, c)`."""
    if one.operator != "ExceptionReplacer":
        return True
    try:
        return bool(broken(source, one))
    except AttributeError:
        return False


def _is_effect(node: Any) -> bool:
    if node.parent is None or node.parent.type != "simple_stmt":
        return False
    if node.type in ("atom_expr", "await_expr"):
        return bool(node.children[-1].type == "trailer" and node.children[-1].children[0].value == "(")
    return node.type == "expr_stmt" and node.children[0].type == "atom_expr" and node.children[1].type != "annassign"


def _meaningless(source: str) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Where a break changes nothing that runs: annotations, `if TYPE_CHECKING`, `__slots__`, what only tells, and
    assertions, which state what cannot be otherwise."""
    spans = []
    lines = source.splitlines()

    def leave_out(node: ast.AST) -> None:
        first, last = _place(lines, node.lineno, node.col_offset), _place(lines, node.end_lineno, node.end_col_offset)
        spans.append((first, last))

    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.AnnAssign(annotation=annotation):
                leave_out(annotation)
            case ast.arg(annotation=ast.expr() as annotation):
                leave_out(annotation)
            case ast.FunctionDef(name="__repr__") | ast.Assert():
                leave_out(node)
            case ast.FunctionDef(returns=ast.expr() as returns) | ast.AsyncFunctionDef(returns=ast.expr() as returns):
                leave_out(returns)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                leave_out(node)
            case ast.Call(func=ast.Name(id="Final" | "cast" | "TypeVar" | "NewType")):
                leave_out(node)
    return spans


def _place(lines: list[str], line: int, offset: int) -> tuple[int, int]:
    """parso counts characters, ast counts bytes."""
    return line, len(lines[line - 1].encode()[:offset].decode())
