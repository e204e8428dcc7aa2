"""What is valid in a folder and may surprise its author, or is refused by the REST API.

The warnings about single documents are those that the REST API gives on a write
(`compile/documents/warnings.py`); here are those that only show between documents.
"""

import json
from collections.abc import Callable, Hashable, Mapping
from typing import Final

from extauthz.compile.documents.warnings import policy_warnings, resource_warnings
from extauthz.compile.fields import shown
from extauthz.domain.policy import WILDCARD, AttributePolicy, Resource, RoleBinding, RoleRule
from extauthz.domain.problem import Problem
from extauthz.folders.reading import Folder, PlacedDocument

UNKNOWN_RESOURCE: Final = "unknown_resource"
REPEATED_VALUE: Final = "repeated_value"
TOO_LARGE_FOR_REST: Final = "too_large_for_rest"
NO_POLICIES: Final = "no_policies"
MAX_REST_BYTES: Final = 256 * 1024


def add_warnings(folder: Folder) -> None:
    """Note the warnings about the documents of a folder that could be read."""
    for placed in folder.documents:
        _of_document(folder, placed)
    _unknown_resources(folder)
    _repeated(folder)
    if folder.cases and not folder.documents:
        folder.note("", Problem("", "the folder has cases and no policies"), warning=NO_POLICIES)


def _of_document(folder: Folder, placed: PlacedDocument) -> None:
    match placed.entity:
        case Resource() as resource:
            found = resource_warnings(resource)
        case AttributePolicy() as policy:
            found = policy_warnings(policy)
            _size(folder, placed)
        case _:
            return
    said: set[tuple[str, str]] = set()
    for warning in found:
        pointer = warning.pointer
        if placed.document.get("format") == "casbin" and pointer.startswith("/rule_data"):
            # An expression is one text, which a pointer cannot point into.
            pointer = "/rule_data"
        if (pointer, warning.message) not in said:
            said.add((pointer, warning.message))
            problem = Problem(placed.pointer + pointer, warning.message)
            folder.note(placed.file, problem, warning=warning.code.value)


def _size(folder: Folder, placed: PlacedDocument) -> None:
    if folder.size(placed.file) <= MAX_REST_BYTES:
        return
    octets = len(json.dumps(dict(placed.document), default=str, ensure_ascii=False).encode())
    if octets > MAX_REST_BYTES:
        message = f"is longer than {MAX_REST_BYTES} bytes, which the REST API refuses"
        folder.note(placed.file, Problem(placed.pointer, message), warning=TOO_LARGE_FOR_REST)


def _unknown_resources(folder: Folder) -> None:
    known = {resource.name for resource in folder.policies.resources}
    places: dict[str, list[tuple[str, str]]] = {}
    for placed in folder.documents:
        match placed.entity:
            case RoleRule(obj=name):
                member = "obj"
            case AttributePolicy(resource=name):
                member = "resource"
            case _:
                continue
        # With UNMAPPED=path the path of a request is the name of its resource.
        if name != WILDCARD and name not in known and not name.startswith("/"):
            places.setdefault(name, []).append((placed.file, f"{placed.pointer}/{member}"))
    for name, found in places.items():
        (file, pointer), more = found[0], len(found) - 1
        message = f"no file of the folder has a resource {shown(name)}" + _more(more)
        folder.note(file, Problem(pointer, message), warning=UNKNOWN_RESOURCE)


def _more(count: int) -> str:
    return f" ({count} more {'rule names' if count == 1 else 'rules name'} it)" if count else ""


def _rule_value(rule: object) -> Hashable:
    return rule[1:] if isinstance(rule, RoleRule) else None


def _binding_value(binding: object) -> Hashable:
    if not isinstance(binding, RoleBinding):
        return None
    return binding.user, binding.user_kind, binding.role, binding.dom


_VALUES: Final[Mapping[str, Callable[[object], Hashable]]] = {
    "role_rules": _rule_value,
    "role_bindings": _binding_value,
}


def _repeated(folder: Folder) -> None:
    first: dict[Hashable, PlacedDocument] = {}
    for placed in folder.documents:
        value_of = _VALUES.get(placed.table)
        if value_of is None or placed.entity is None:
            continue
        other = first.setdefault((placed.table, value_of(placed.entity)), placed)
        if other is not placed:
            line = folder.place(other.file, other.pointer).line
            message = (
                f"has the value of {other.file}:{line} ({other.pointer}); the REST API keeps one of them"
            )
            folder.note(placed.file, Problem(placed.pointer, message), warning=REPEATED_VALUE)
