"""The small changes of a module that mutation testing makes, one at a time."""

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

_COMPARISONS: Final[dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]]] = {
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: Final[dict[type[ast.operator], type[ast.operator]]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_NAMES: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}
_MEMBERS: Final = {("Effect", "ALLOW"): "DENY", ("Effect", "DENY"): "ALLOW"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: where, what it was and what it became, and the whole module with it."""

    line: int
    before: str
    after: str
    tree: ast.Module


def mutants(source: str) -> Iterator[Mutant]:
    """Yield every mutant of a module's source."""
    tree = ast.parse(source)
    skipped = _not_code(tree)
    for position, node in enumerate(ast.walk(tree)):
        if id(node) in skipped:
            continue
        for changed in _changes(node):
            mutated = copy.deepcopy(tree)
            _replace(mutated, _nth(mutated, position), changed)
            line = getattr(node, "lineno", 0)
            yield Mutant(line, _shown(node), _shown(changed), ast.fix_missing_locations(mutated))


def _shown(node: ast.AST) -> str:
    """Return a node as one line; of a statement only what it begins with."""
    return ast.unparse(node).partition("\n")[0]


def _changes(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(ops=[operator]):
            for other in _COMPARISONS[type(operator)]:
                yield ast.Compare(node.left, [other()], node.comparators)
        case ast.Compare(ops=operators):
            for at, operator in enumerate(operators):
                for other in _COMPARISONS[type(operator)]:
                    ops = [*operators[:at], other(), *operators[at + 1 :]]
                    yield ast.Compare(node.left, ops, node.comparators)
        case ast.BoolOp(values=values):
            other_operator = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
            yield ast.BoolOp(other_operator, values)
            for at in range(len(values)):
                rest = values[:at] + values[at + 1 :]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.If() | ast.IfExp() | ast.While():
            for fixed in (True, False):
                changed = copy.copy(node)
                changed.test = ast.Constant(fixed)
                yield changed
        case ast.BinOp(op=operator) if type(operator) in _ARITHMETIC:
            yield ast.BinOp(node.left, _ARITHMETIC[type(operator)](), node.right)
        case ast.Constant(value=value):
            yield from map(ast.Constant, _other_values(value))
        case ast.Name(id=name, ctx=ast.Load()) if name in _NAMES:
            yield ast.Name(_NAMES[name], ast.Load())
        case ast.Attribute(value=ast.Name(id="Reason"), attr=member):
            other_member = "INTERNAL_ERROR" if member != "INTERNAL_ERROR" else "OVERLOADED"
            yield ast.Attribute(node.value, other_member, ast.Load())
        case ast.Attribute(value=ast.Name(id=owner), attr=member) if (owner, member) in _MEMBERS:
            yield ast.Attribute(node.value, _MEMBERS[owner, member], ast.Load())
        case ast.Return(value=ast.expr() as value) if not _is_none(value):
            yield ast.Return(ast.Constant(None))
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case _:
            return


def _other_values(value: object) -> Iterator[int | float | str | bytes | bool]:
    match value:
        case bool():
            yield not value
        case int() | float():
            yield value + 1
            yield value - 1
        case str() | bytes() if value and not _is_message(value):
            yield value[1:]
            if len(value) > 1:
                yield value[:-1]
        case _:
            return


def _is_message(value: str | bytes) -> bool:
    """Say whether a text is for people: several words, and no pattern or set of characters."""
    return isinstance(value, str) and " " in value.strip() and value.replace(" ", "").isprintable()


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _not_code(tree: ast.Module) -> set[int]:
    """Return the nodes whose change no test could see: annotations, docstrings, messages, `__all__`."""
    skipped: set[int] = set()
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        match node:
            case ast.AnnAssign():
                parts = [node.annotation]
            case ast.arg():
                parts = [node.annotation]
            case ast.FunctionDef():
                parts = [node.returns]
            case ast.Assign(targets=[ast.Name(id="__all__")]):
                parts = [node]
            case ast.Expr(value=ast.Constant()):
                parts = [node]
            case ast.Raise():
                parts = [node]
            case ast.Call(func=ast.Name(id="_malformed" | "_invalid"), args=[*arguments]):
                parts = list(arguments)
            case ast.Call(func=ast.Name(id="Rejected"), args=[_, detail]):
                parts = [detail]
            case ast.keyword(arg="repr" | "slots" | "frozen"):
                parts = [node]
            case _:
                continue
        skipped.update(id(inner) for part in parts if part is not None for inner in ast.walk(part))
    return skipped


def _nth(tree: ast.Module, position: int) -> ast.AST:
    return next(node for at, node in enumerate(ast.walk(tree)) if at == position)


def _replace(tree: ast.Module, old: ast.AST, new: ast.AST) -> None:
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is old:
                setattr(parent, name, new)
                return
            if isinstance(value, list):
                for at, item in enumerate(value):
                    if item is old:
                        value[at] = new
                        return
