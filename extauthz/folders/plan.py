"""What has to change so that the live rows are those of a folder: a pure comparison.

Input: the rows of a folder and the live rows. Output: a `Plan`, or the rows of the folder that cannot be had.

A row of the folder is a live row (docs/folders.md#which-row-is-which):

1. a resource by its name;
2. a role rule by its value, else by an `id` that is one of a live rule without a counterpart;
3. a role binding by its value; its expiry is changed by replacing it;
4. an attribute policy by an `id` that is one of a live policy, else by an equal document, else by its name,
   where one policy of the folder and one live policy are left with that name.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

from extauthz.domain.policy import PUBLIC_SUBJECTS, default_action
from extauthz.folders.rows import (
    ATTRIBUTE_POLICY,
    KINDS,
    RESOURCE,
    ROLE_BINDING,
    ROLE_RULE,
    Document,
    PolicyRow,
)
from extauthz.storage.encoding import encode_json

StepAction = Literal["create", "update", "replace", "delete"]
_NOT_COMPARED: Final = frozenset({"defaultRoles"})
"""Role rules show what default roles are: the member itself says what a resource was registered with."""
_WITHOUT_ORDER: Final = frozenset({"actions", "methods", "routes"})
_PUBLIC_NOT_IN_FORCE: Final = "public_not_in_force"


@dataclass(frozen=True, slots=True)
class Step:
    """One row that changes: `before` is the live row, `after` the row of the folder.

    `replace` is for role bindings, which are deleted and created again. `sent` is the document to send where
    it is another than that of `after`.
    """

    action: StepAction
    kind: str
    before: PolicyRow | None
    after: PolicyRow | None
    sent: Document | None = None

    @property
    def row(self) -> PolicyRow:
        """The row that is left, or goes."""
        row = self.before if self.after is None else self.after
        assert row is not None, "a step has at least one of the two"
        return row

    @property
    def document(self) -> Document:
        """The document to send."""
        return self.row.document if self.sent is None else self.sent

    @property
    def key(self) -> tuple[object, ...]:
        """What two plans agree on where this step is the same in both."""
        before = None if self.before is None else (self.before.id, encode_json(self.before.document))
        after = None if self.after is None else encode_json(self.document)
        return self.action, self.kind, before, after


@dataclass(frozen=True, slots=True)
class RowProblem:
    """A row of the folder that no plan can be made for, and why."""

    row: PolicyRow
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps in the order of kinds and labels; `extra` are live rows that the folder does not have.

    `needed` are those of them that `prune` does not delete: resources that rules of the folder name.
    """

    steps: tuple[Step, ...] = ()
    extra: tuple[PolicyRow, ...] = ()
    needed: tuple[PolicyRow, ...] = ()
    live: tuple[PolicyRow, ...] = field(default=(), compare=False, repr=False)

    def is_same(self, other: "Plan") -> bool:
        """Tell whether another plan makes the same changes."""
        return [step.key for step in self.steps] == [step.key for step in other.steps]

    def count(self, *actions: StepAction) -> int:
        """Return how many steps have one of the actions."""
        return sum(step.action in actions for step in self.steps)


def plan(wanted: Iterable[PolicyRow], live: Sequence[PolicyRow], *, prune: bool) -> Plan | list[RowProblem]:
    """Compare. With `prune` live rows that the folder does not have are deleted."""
    rows = _by_kind(wanted)
    present = _by_kind(live)
    problems = _repeated(rows)
    if problems:
        return problems
    steps: list[Step] = []
    extra: list[PolicyRow] = []
    rules = {row.value for row in rows[ROLE_RULE]}
    # With `prune` each live row that is not meant goes, so it does not matter which one is.
    unclear: list[RowProblem] = []
    for kind in KINDS:
        pairs = _MATCH[kind](rows[kind], present[kind], unclear)
        matched = {id(before) for _, before in pairs if before is not None}
        for after, before in pairs:
            step = _step(kind, before, after, rules)
            if step is not None:
                steps.append(step)
        extra += [row for row in present[kind] if id(row) not in matched]
    if unclear and not prune:
        return unclear
    steps += closing(steps, extra)
    gone = {id(step.before) for step in steps if step.action == "delete"}
    extra = [row for row in extra if id(row) not in gone]
    needed: list[PolicyRow] = []
    if prune:
        named = {row.document["obj"] for row in rows[ROLE_RULE]}
        named |= {row.document["resource"] for row in rows[ATTRIBUTE_POLICY]}
        needed = [row for row in extra if row.kind == RESOURCE and row.document.get("name") in named]
        kept = {id(row) for row in needed}
        steps += [Step("delete", row.kind, row, None) for row in extra if id(row) not in kept]
        extra = []
    order = {kind: index for index, kind in enumerate(KINDS)}
    return Plan(
        tuple(sorted(steps, key=lambda step: (order[step.kind], step.row.label, step.row.id or ""))),
        tuple(extra),
        tuple(needed),
        tuple(live),
    )


def canonical(document: Mapping[str, Any]) -> str:
    """Return a text that two documents share where they say the same; some lists have no order."""
    return encode_json(
        {name: _unordered(name, value) for name, value in document.items() if name not in _NOT_COMPARED}
    )


def _unordered(name: str, value: Any) -> Any:
    if name not in _WITHOUT_ORDER or not isinstance(value, list):
        return value
    if name == "routes":
        value = [
            {member: _unordered(member, each) for member, each in route.items()}
            if isinstance(route, Mapping)
            else route
            for route in value
        ]
    return sorted(value, key=encode_json)


def _by_kind(rows: Iterable[PolicyRow]) -> dict[str, list[PolicyRow]]:
    found: dict[str, list[PolicyRow]] = {kind: [] for kind in KINDS}
    for row in rows:
        found[row.kind].append(row)
    return found


def _repeated(rows: dict[str, list[PolicyRow]]) -> list[RowProblem]:
    """Leave each rule and binding once; the answer is what contradicts itself."""
    problems: list[RowProblem] = []
    for kind in (RESOURCE, ROLE_RULE, ROLE_BINDING):
        first: dict[tuple[object, ...], PolicyRow] = {}
        for row in rows[kind]:
            other = first.setdefault(row.value, row)
            if canonical(other.document) != canonical(row.document):
                message = (
                    f"is another {kind.replace('_', ' ')} {row.label!r} than {other.file} {other.pointer}"
                )
                problems.append(RowProblem(row, f"{message}; the server holds one"))
            elif other is not row and other.id is None:
                first[row.value] = row
        rows[kind] = list(first.values())
    return problems


Pair = tuple[PolicyRow, PolicyRow | None]


def _by_value(wanted: Sequence[PolicyRow], live: Sequence[PolicyRow], _: list[RowProblem]) -> list[Pair]:
    present = {row.value: row for row in live}
    return [(row, present.get(row.value)) for row in wanted]


def _rules(wanted: Sequence[PolicyRow], live: Sequence[PolicyRow], problems: list[RowProblem]) -> list[Pair]:
    # By value first: a rule whose value is live elsewhere cannot be given to another row.
    pairs = _by_value(wanted, live, problems)
    taken = {id(before) for _, before in pairs if before is not None}
    free = {row.id: row for row in live if id(row) not in taken}
    return [(after, before or (free.get(after.id) if after.id else None)) for after, before in pairs]


def _policies(
    wanted: Sequence[PolicyRow], live: Sequence[PolicyRow], problems: list[RowProblem]
) -> list[Pair]:
    by_id = {row.id: row for row in live}
    found: dict[int, PolicyRow] = {id(row): by_id[row.id] for row in wanted if row.id in by_id}
    taken = {id(row) for row in found.values()}
    equal: dict[str, list[PolicyRow]] = defaultdict(list)
    for row in reversed(live):
        if id(row) not in taken:
            equal[canonical(row.document)].append(row)
    for row in wanted:
        if id(row) not in found and (same := equal.get(canonical(row.document))):
            found[id(row)] = same.pop()
    taken = {id(row) for row in found.values()}
    names: dict[object, list[PolicyRow]] = defaultdict(list)
    for row in live:
        if id(row) not in taken:
            names[row.document.get("name")].append(row)
    left: dict[object, list[PolicyRow]] = defaultdict(list)
    for row in wanted:
        if id(row) not in found:
            left[row.document["name"]].append(row)
    for name, rows in left.items():
        candidates = names.get(name, [])
        if len(rows) == len(candidates) == 1:
            found[id(rows[0])] = candidates[0]
        elif candidates:
            ids = ", ".join(str(row.id) for row in candidates[:5])
            problems += [
                RowProblem(
                    row, f"the name {name!r} does not say which live policy is meant; its id does ({ids})"
                )
                for row in rows
            ]
    return [(row, found.get(id(row))) for row in wanted]


_MATCH: Final = {
    RESOURCE: _by_value,
    ROLE_RULE: _rules,
    ROLE_BINDING: _by_value,
    ATTRIBUTE_POLICY: _policies,
}


def _step(
    kind: str, before: PolicyRow | None, after: PolicyRow, wanted_rules: Set[tuple[object, ...]]
) -> Step | None:
    if before is None:
        return Step("create", kind, None, after)
    if kind != RESOURCE:
        if canonical(before.document) == canonical(after.document):
            return None
        return Step("replace" if kind == ROLE_BINDING else "update", kind, before, after)
    document = dict(after.document)
    is_public = document.get("public") is True
    declared = before.document.get("public") is True
    wants_rules = not wanted_rules.isdisjoint(_public_rules(after.document))
    if not is_public and (_PUBLIC_NOT_IN_FORCE in before.warnings or (declared and wants_rules)):
        # `public` is the server's note of two rules. While the folder names one of them itself, the note
        # stays as it is: taking it away would delete both.
        document["public"] = True
        shown = document if declared else {name: document[name] for name in document if name != "public"}
    else:
        shown = document
    if canonical(before.document) == canonical(shown):
        return None
    return Step("update", kind, before, replace(after, document=shown), document)


def closing(steps: Iterable[Step], extra: Iterable[PolicyRow]) -> list[Step]:
    """Return the rules that go because their resource is not public any more."""
    rules: set[tuple[object, ...]] = set()
    for step in steps:
        before = None if step.kind != RESOURCE or step.before is None else step.before.document.get("public")
        if before is True and step.document.get("public") is not True:
            rules |= _public_rules(step.document)
    return [
        Step("delete", ROLE_RULE, row, None) for row in extra if row.kind == ROLE_RULE and row.value in rules
    ]


def _public_rules(resource: Document) -> set[tuple[object, ...]]:
    name = str(resource["name"])
    return {(sub, kind.value, "*", name, default_action(name), "allow") for sub, kind in PUBLIC_SUBJECTS}
