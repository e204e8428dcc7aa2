"""Writes live rows as a folder of policy files: one file for each noun, its entries in the order of values.

Input: `LiveRows` and the folder. Output: the names of the files that were written. Errors: `ExportError`, one
line for each problem; OSError.

The files say each thing once: what `defaultRoles` and `public` of a resource stand for are role rules, with
the ids that decisions name.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from extauthz.compile.documents.policy_documents import subject_kind
from extauthz.compile.documents.warnings import WarningCode
from extauthz.domain.policy import RoleRule, SubjectKind, default_action
from extauthz.domain.reasons import Effect
from extauthz.folders.files import Limits, files_of, read_file
from extauthz.folders.live_rows import LiveRows
from extauthz.folders.rows import (
    ATTRIBUTE_POLICY,
    KINDS,
    RESOURCE,
    ROLE_BINDING,
    ROLE_RULE,
    TABLES,
    Document,
    PolicyRow,
    routes_of,
)
from extauthz.folders.texts import CaseText, read_folder_text
from extauthz.folders.writing import write_whole
from extauthz.folders.yaml_writer import table

HEADER: Final = "# Written by 'extauthz policy export', which replaces this file the next time.\n"
_SCHEMA: Final = "# yaml-language-server: $schema=.schema/policies.json\n"
_ORDER: Final[Mapping[str, tuple[str, ...]]] = {
    RESOURCE: (
        "name", "serviceName", "displayName",
        "headers", "authorization", "assertion", "require_bound", "routes",
    ),
    ROLE_RULE: RoleRule._fields,
    ROLE_BINDING: ("id", "user", "user_kind", "role", "dom", "expires_at"),
    ATTRIBUTE_POLICY: (
        "id", "name", "resource", "actions", "domain", "effect", "priority", "enabled", "mode", "format",
        "rule_data",
    ),
}  # fmt: skip
_SORTED_BY: Final[Mapping[str, tuple[str, ...]]] = {
    RESOURCE: ("name",),
    ROLE_RULE: ("obj", "act", "dom", "sub_kind", "sub", "effect"),
    ROLE_BINDING: ("dom", "role", "user_kind", "user"),
    ATTRIBUTE_POLICY: ("resource", "name", "id"),
}
_DEFAULTS: Final[Mapping[str, object]] = {
    "actions": ["*"], "domain": "*", "priority": 0, "enabled": True, "mode": "enforce", "format": "json",
}  # fmt: skip
_CONDITION: Final = ("type", "attribute", "as", "operator", "value", "condition", "conditions")
_HEAD: Final = 256


class ExportError(Exception):
    """The folder cannot be written; `problems` are lines that name files or rows."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Exported:
    """The files that have another content than before, and those that have the same."""

    written: tuple[str, ...]
    unchanged: tuple[str, ...]


def files(live: LiveRows) -> dict[str, str]:
    """Return the text of each file. Raises ExportError for rows that cannot be read."""
    damaged = [row for row in live.rows if WarningCode.UNREADABLE_ROW.value in row.warnings]
    if damaged:
        problems = (
            f"the live {row.kind.replace('_', ' ')} {row.id} cannot be read; replace or delete it"
            for row in damaged
        )
        raise ExportError(*problems)
    texts: dict[str, str] = {}
    for kind in KINDS:
        if kind in live.hidden:
            continue
        rows = sorted((row for row in live.rows if row.kind == kind), key=_key)
        entries = [_entry(row) for row in rows]
        one_line = kind in {ROLE_RULE, ROLE_BINDING}
        texts[f"{TABLES[kind]}.yaml"] = HEADER + _SCHEMA + table(TABLES[kind], entries, one_line=one_line)
    return texts


def _key(row: PolicyRow) -> tuple[str, ...]:
    document = row.document | {"id": row.id}  # type: ignore[operator]
    return tuple(str(document.get(name)) for name in _SORTED_BY[row.kind])


def _entry(row: PolicyRow) -> dict[str, Any]:
    document = {**row.document, "id": row.id}
    shortened = _SHORTENED[row.kind](document)
    return {name: shortened[name] for name in _ORDER[row.kind] if name in shortened}


def _resource(document: dict[str, Any]) -> dict[str, Any]:
    if document.get("displayName") == document.get("name"):
        del document["displayName"]
    routes = [_route(route, str(document.get("name"))) for route in routes_of(document)]
    return document | {"routes": routes}


def _route(route: Document, name: str) -> dict[str, Any]:
    members = ("host", "methods", "path", "action", "authentication")
    defaults = {"action": default_action(name), "authentication": "required"}
    return {each: route[each] for each in members if each in route and route[each] != defaults.get(each)}


def _role_rule(document: dict[str, Any]) -> dict[str, Any]:
    kind = subject_kind(document.get("sub"), None, Effect(document["effect"]))
    if kind == SubjectKind(document["sub_kind"]):
        del document["sub_kind"]
    return document


def _policy(document: dict[str, Any]) -> dict[str, Any]:
    kept = {
        name: value for name, value in document.items() if name not in _DEFAULTS or _DEFAULTS[name] != value
    }
    return kept | {"rule_data": _ordered(document["rule_data"])}


def _ordered(node: Any) -> Any:
    """Return a condition with its members in the order in which they are usually written."""
    if isinstance(node, list):
        return [_ordered(each) for each in node]
    if not isinstance(node, Mapping):
        return node
    names = [name for name in _CONDITION if name in node]
    names += sorted(name for name in node if name not in _CONDITION)
    return {name: _ordered(node[name]) for name in names}


_SHORTENED: Final[Mapping[str, Callable[[dict[str, Any]], dict[str, Any]]]] = {
    RESOURCE: _resource,
    ROLE_RULE: _role_rule,
    ROLE_BINDING: lambda document: document,
    ATTRIBUTE_POLICY: _policy,
}


def write(folder: Path, texts: Mapping[str, str]) -> Exported:
    """Write the files, each in one step, so that a reader sees an old or a new one.

    The folder is made where it does not exist. Where it has policy files that no export wrote, nothing is
    written: the folder would have their policies in addition. Raises ExportError, OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    foreign = _foreign(folder, texts)
    if foreign:
        raise ExportError(*foreign)
    data = {name: text.encode() for name, text in texts.items()}
    unchanged = [name for name in data if _content(folder / name) == data[name]]
    changed = [name for name in data if name not in unchanged]
    for name in changed:
        write_whole(folder / name, data[name])
    return Exported(tuple(changed), tuple(unchanged))


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _foreign(folder: Path, texts: Mapping[str, str]) -> Sequence[str]:
    """Return a problem for each policy file that an export neither wrote nor would replace."""
    problems: list[str] = []
    for file in files_of(folder, Limits()):
        if file.path.is_symlink() and file.name in texts:
            problems.append(f"{file.name} is a link; an export replaces files alone")
            continue
        head = read_file(file.path, _HEAD)
        if file.name in texts and head.startswith(HEADER.encode()):
            continue
        if file.name not in texts and isinstance(
            read_folder_text(read_file(file.path, None), is_json=file.is_json), CaseText
        ):
            continue
        problems.append(
            f"{file.name} is there, and no export wrote it; export into another folder, or remove it"
        )
    return problems
