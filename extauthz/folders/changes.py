"""A plan as the list of changes that `POST /api/v1/drafts/{id}/changes` takes, in an order that is accepted.

Input: a `Plan`. Output: `ListedChange`s, each with the step that it belongs to.

The list is applied in order. Rules leave a resource before it goes, because one that rules name cannot be
deleted. Rules come before resources, because a resource writes the rules of its default roles and
of `public` where they do not exist yet. A route leaves the resource that had it before another one gets it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from extauthz.compile.routes.route_index import Template
from extauthz.folders.plan import Plan, Step
from extauthz.folders.rows import ATTRIBUTE_POLICY, RESOURCE, ROLE_BINDING, ROLE_RULE, Document, routes_of
from extauthz.storage.encoding import encode_json

_MOST_OCTETS: Final = 6 * 1024 * 1024
_MOST_ENTRIES: Final = 50_000


@dataclass(frozen=True, slots=True)
class ListedChange:
    """An entry of the list, and the step of the plan that it belongs to."""

    step: Step
    body: Mapping[str, object]


def changes(plan: Plan) -> list[ListedChange]:
    """Return the list; empty where the plan has no steps."""
    return list(_ordered(plan))


def parts(entries: Sequence[ListedChange]) -> Iterator[list[ListedChange]]:
    """Yield the entries in lists that the API takes: it takes 8 MiB and 100,000 entries at once."""
    part: list[ListedChange] = []
    size = 0
    for entry in entries:
        octets = len(encode_json(entry.body).encode()) + 1
        if part and (size + octets > _MOST_OCTETS or len(part) == _MOST_ENTRIES):
            yield part
            part, size = [], 0
        part.append(entry)
        size += octets
    if part:
        yield part


def _ordered(plan: Plan) -> Iterator[ListedChange]:
    steps = plan.steps
    for kind in (ROLE_RULE, ROLE_BINDING, ATTRIBUTE_POLICY):
        yield from _deleted(steps, kind)
    for action in ("update", "create"):
        yield from _written(steps, ROLE_RULE, action)
        yield from _written(steps, ATTRIBUTE_POLICY, action)
    yield from _deleted(steps, RESOURCE)
    yield from _without_routes_of_others(steps)
    yield from _written(steps, RESOURCE, "update")
    yield from _written(steps, RESOURCE, "create")
    yield from _written(steps, ROLE_BINDING, "replace")
    yield from _written(steps, ROLE_BINDING, "create")


def _deleted(steps: tuple[Step, ...], kind: str) -> Iterator[ListedChange]:
    for step in steps:
        if step.kind == kind and step.action in {"delete", "replace"}:
            assert step.before is not None, "what is deleted is live"
            yield ListedChange(step, {"action": "delete", "kind": step.kind, "id": step.before.id})


def _written(steps: tuple[Step, ...], kind: str, action: str) -> Iterator[ListedChange]:
    for step in steps:
        if step.kind == kind and step.action == action:
            yield _write(step, step.document)


def _write(step: Step, document: Document) -> ListedChange:
    body: dict[str, Any] = {"action": "update", "kind": step.kind, "document": document}
    if step.action == "update":
        assert step.before is not None, "what is updated is live"
        return ListedChange(step, body | {"id": step.before.id})
    return ListedChange(step, body | {"action": "create"})


def _without_routes_of_others(steps: tuple[Step, ...]) -> Iterator[ListedChange]:
    """Yield updates that only take routes away from resources: those that another updated resource gets."""
    updates = [step for step in steps if step.kind == RESOURCE and step.action == "update"]
    wanted: dict[tuple[str, str, str], str] = {}
    for step in updates:
        for route in step.document["routes"]:
            wanted.update(dict.fromkeys(_claims(route), str(step.document["name"])))
    for step in updates:
        assert step.before is not None, "what is updated is live"
        name, routes = str(step.document["name"]), routes_of(step.before.document)
        kept = [route for route in routes if all(wanted.get(claim, name) == name for claim in _claims(route))]
        if len(kept) < len(routes):
            stays = step.before.document | {"routes": kept}  # type: ignore[operator]
            if "public" in step.document:
                stays = stays | {"public": step.document["public"]}
            yield _write(step, stays)


def _claims(route: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return what a route takes: of a host, a shape and a method there is one."""
    template = Template.parse(str(route.get("path")))
    shape = template.shape if isinstance(template, Template) else str(route.get("path"))
    return [(str(route.get("host") or ""), shape, method) for method in route.get("methods") or ()]
