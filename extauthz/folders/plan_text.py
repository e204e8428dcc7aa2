"""A plan as text for a terminal, and as JSON.

Input: a `Plan`. Output: lines, with colours where they are asked for; or one JSON value.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from extauthz.domain.one_line import one_line
from extauthz.folders.differences import NOT_THERE, MemberChange, differences
from extauthz.folders.plan import Plan, Step
from extauthz.folders.rows import RESOURCE, ROLE_BINDING, ROLE_RULE, PolicyRow
from extauthz.storage.encoding import encode_json

SHOWN_EXTRA: Final = 20
_SIGNS: Final = {"create": "+", "update": "~", "replace": "~", "delete": "-"}
_WORDS: Final = {"create": "create", "update": "change", "replace": "change", "delete": "delete"}
_COLOURS: Final = {"+": "32", "~": "33", "-": "31", "!": "36"}
_LONGEST: Final = 2_000


Where = Callable[[PolicyRow], str]
"""Says where a row of the folder stands: the file and the line."""


def plan_lines(plan: Plan, where: Where, *, colour: bool, prune: bool) -> Iterator[str]:
    """Yield the lines: each step with its members, then what the folder does not have, then the numbers."""
    for step in plan.steps:
        sign = _SIGNS[step.action]
        yield _painted(f"{sign} {_title(step.row)}{_place(step, where)}", sign, colour)
        for line in _body(step):
            yield _painted(f"    {line}", line[:1] if line[:1] in "+-" else sign, colour)
    for row in plan.needed:
        words = "not in the folder, and kept: rules of the folder name it"
        yield _painted(f"! {_title(row)}  {words}", "!", colour)
    for row in plan.extra[:SHOWN_EXTRA]:
        yield _painted(f"! {_title(row)}  not in the folder", "!", colour)
    if len(plan.extra) > SHOWN_EXTRA:
        yield _painted(
            f"! and {len(plan.extra) - SHOWN_EXTRA} more rows that are not in the folder", "!", colour
        )
    if plan.steps or plan.extra or plan.needed:
        yield summary(plan, prune=prune)


def summary(plan: Plan, *, prune: bool) -> str:
    """Return the numbers of a plan."""
    counts = (plan.count("create"), plan.count("update", "replace"), plan.count("delete"))
    text = "{} to create, {} to change, {} to delete".format(*counts)
    others = len(plan.extra) + len(plan.needed)
    if others:
        text += f"; {others} live row{'' if others == 1 else 's'} not in the folder"
        text += "" if prune else " (--prune deletes)"
    return text


def plan_json(plan: Plan, where: Where) -> dict[str, object]:
    """Return the plan as one JSON value; the `place` of a change is the file and the line of the folder."""
    return {
        "changes": [_step_json(step, where) for step in plan.steps],
        "not_in_folder": [
            {"kind": row.kind, "id": row.id, "name": row.label, "kept_for_rules": row in plan.needed}
            for row in (*plan.extra, *plan.needed)
        ],
        "create": plan.count("create"),
        "change": plan.count("update", "replace"),
        "delete": plan.count("delete"),
    }


def _step_json(step: Step, where: Where) -> dict[str, object]:
    found: dict[str, object] = {
        "action": _WORDS[step.action],
        "kind": step.kind,
        "id": None if step.before is None else step.before.id,
        "name": step.row.label,
        "place": None if step.after is None else where(step.after),
        "before": None if step.before is None else step.before.document,
        "after": None if step.after is None else step.after.document,
    }
    if step.before is not None and step.after is not None:
        found["members"] = [
            {"pointer": each.pointer}
            | ({} if each.before is NOT_THERE else {"before": each.before})
            | ({} if each.after is NOT_THERE else {"after": each.after})
            for each in differences(step.before.document, step.after.document)
        ]
    return found


def title_of(step: Step) -> str:
    """Return what a step does, in a few words."""
    return f"{_WORDS[step.action]} {_title(step.row)}"


def _title(row: PolicyRow) -> str:
    return one_line(f"{row.kind.replace('_', ' ')} {row.label}")


def _place(step: Step, where: Where) -> str:
    if step.after is not None:
        return f"  ({one_line(where(step.after))})"
    return "" if step.before is None else f"  ({one_line(str(step.before.id))})"


def _body(step: Step) -> Iterator[str]:
    if step.before is not None and step.after is not None:
        yield from map(_member, differences(step.before.document, step.after.document))
    elif step.kind not in {ROLE_RULE, ROLE_BINDING} or "expires_at" in step.row.document:
        document = step.row.document
        sign = _SIGNS[step.action]
        hidden = {"name"} if step.kind != ROLE_BINDING else set(document) - {"expires_at"}
        for name, value in document.items():
            if name in hidden or (step.kind == RESOURCE and value == []):
                continue
            if name == "routes" and isinstance(value, list):
                yield from (f"{sign} routes: {_shown(route)}" for route in value)
            else:
                yield f"{sign} {name}: {_shown(value)}"


def _member(change: MemberChange) -> str:
    name = one_line(change.pointer.lstrip("/").replace("/", "."))
    if change.before is NOT_THERE:
        return f"+ {name}: {_shown(change.after)}"
    if change.after is NOT_THERE:
        return f"- {name}: {_shown(change.before)}"
    return f"{name}: {_shown(change.before)} -> {_shown(change.after)}"


def _shown(value: Any) -> str:
    text = encode_json(value)
    if not text.isprintable():
        # A terminal takes some of these characters for commands, or shows others in another order.
        text = json.dumps(_floats(value), sort_keys=True, separators=(",", ":"))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}... ({len(text)} characters)"


def _floats(value: Any) -> Any:
    match value:
        case Decimal():
            return float(value)
        case Mapping():
            return {name: _floats(member) for name, member in value.items()}
        case list():
            return [_floats(each) for each in value]
        case _:
            return value


def _painted(line: str, sign: str, colour: bool) -> str:
    return f"\x1b[{_COLOURS[sign]}m{line}\x1b[0m" if colour else line
