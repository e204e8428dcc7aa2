"""What an MCP server lists becomes resources with routes, one each; no rule allows any of them.

Input: answers to `tools/list`, `resources/list`, `resources/templates/list` and `prompts/list`, as JSON-RPC
messages or their results. Output: `Imported`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extauthz.compile.documents.mcp_routes import PRESET, member_of, single_problem
from extauthz.compile.documents.resource_documents import parse_resource
from extauthz.compile.routes.mcp_messages import claims_of
from extauthz.domain.mcp import POST
from extauthz.importing.outcome import Consequence, Imported, NotTaken

if TYPE_CHECKING:
    from extauthz.domain.problem import Problem

MAX_ENTRIES: Final = 10_000
"""Of all lists of a server together."""
NEXT_CURSOR: Final = "nextCursor"
_CONNECT: Final = ":connect"
_OWN: Final = ("/name", "/routes/0/mcp")
"""What of a resource is made of the entry; the rest is the same for all."""

ListEntries = Mapping[str, Sequence[Mapping[str, object]]]
"""The entries of each list by its member, such as `tools`."""


@dataclass(frozen=True, slots=True)
class McpList:
    """A list that servers answer: the `method` that asks for it, and the `member` with its entries.

    `noun` is one entry, `identity` the member that a client names in a message of the method `use`, and
    `action` what the resource of an entry ends with.
    """

    method: str
    member: str
    noun: str
    identity: str
    use: str
    action: str
    is_template: bool = False
    instead: str = "rename it in the server"


_BY_HAND: Final = "write a route for what of it one can cover (docs/mcp.md)"
TOOLS: Final = McpList("tools/list", "tools", "tool", "name", "tools/call", "call")
RESOURCES: Final = McpList(
    "resources/list", "resources", "resource", "uri", "resources/read", "read", instead=_BY_HAND
)
TEMPLATES: Final = McpList(
    "resources/templates/list",
    "resourceTemplates",
    "resource template",
    "uriTemplate",
    "resources/read",
    "read",
    is_template=True,
    instead=_BY_HAND,
)
PROMPTS: Final = McpList("prompts/list", "prompts", "prompt", "name", "prompts/get", "get")
LISTS: Final = (TOOLS, RESOURCES, TEMPLATES, PROMPTS)
_NEEDED: Final = "an answer to " + ", ".join(each.method for each in LISTS[:-1]) + f" or {PROMPTS.method}"


class NoListsError(ValueError):
    """The document has no answer of a server that lists something; the text says what it is."""


@dataclass(frozen=True, slots=True)
class ServerLists:
    """What a server lists; `unfinished` are the members of lists whose last page is not there."""

    entries: ListEntries
    unfinished: frozenset[str] = frozenset()


def lists_of(document: object) -> ServerLists:
    """Return what an answer, or a list of answers such as the pages of one list, has.

    Raises:
        NoListsError: one of them is not an answer to a question for a list.
    """
    entries: dict[str, list[Mapping[str, object]]] = {}
    unfinished: set[str] = set()
    answers = document if isinstance(document, list) else [document]
    if not answers:
        raise NoListsError(f"{_NEEDED} is needed, found an empty list")
    for position, answer in enumerate(answers):
        place = f"answer {position}: " if isinstance(document, list) else ""
        result = answer.get("result", answer) if isinstance(answer, Mapping) else None
        if isinstance(answer, Mapping) and "error" in answer:
            raise NoListsError(f"{place}it is an error of the server")
        members = [each.member for each in LISTS if isinstance(result, Mapping) and each.member in result]
        if not members or not isinstance(result, Mapping):
            raise NoListsError(f"{place}{_NEEDED} is needed: {{'tools': [{{'name': ...}}, ...]}}")
        for member in members:
            listed = result[member]
            if not isinstance(listed, list) or not all(isinstance(entry, Mapping) for entry in listed):
                raise NoListsError(f"{place}{member} is not a list of objects")
            entries.setdefault(member, []).extend(listed)
            (unfinished.discard if result.get(NEXT_CURSOR) is None else unfinished.add)(member)
    if (total := sum(map(len, entries.values()))) > MAX_ENTRIES:
        raise NoListsError(f"{total} entries, at most {MAX_ENTRIES} are taken")
    return ServerLists(entries, frozenset(unfinished))


def import_lists(
    lists: ServerLists, *, source: str, service: str, path: str, host: str | None = None
) -> Imported:
    """Return a resource for the session and one for each entry. `source` names where they come from."""
    imported = Imported("mcp")
    imported.note(
        "No rule allows any of these resources: write the roles that may call, read or get each of them."
    )
    if lists.entries.get(TEMPLATES.member):
        imported.note(
            "A parameter of a URI stands for letters, digits, '-', '.', '_' and '~': other URIs are denied."
        )
    route = {"path": path} if host is None else {"host": host, "path": path}
    session = {"methods": [POST, "GET", "DELETE"], **route, "mcp": PRESET}
    imported.add(
        "resources", _resource(f"{service}{_CONNECT}", service, session), "initialize, lists, notifications"
    )
    claimed: set[str] = set()
    for kind in LISTS:
        for position, entry in enumerate(lists.entries.get(kind.member, ())):
            resource = _entry_resource(kind, entry, service, route)
            problem = next(_problems(kind, entry, resource, claimed), None)
            if problem is not None:
                imported.not_taken.append(_left_out(source, kind, position, entry, problem))
                continue
            described = entry.get("description")
            is_text = isinstance(described, str) and described.strip()
            imported.add("resources", resource, str(described if is_text else entry[kind.identity])[:200])
        if kind.member in lists.unfinished:
            imported.not_taken.append(
                NotTaken(
                    source,
                    None,
                    kind.member,
                    NEXT_CURSOR,
                    "the answer is not the last page",
                    f"add the answers to {kind.method} with this cursor, all in one list",
                    Consequence.LEFT_OUT,
                )
            )
    return imported


def _resource(name: str, service: str, route: Mapping[str, object]) -> dict[str, object]:
    return {"name": name, "serviceName": service, "routes": [dict(route)]}


def _entry_resource(
    kind: McpList, entry: Mapping[str, object], service: str, route: Mapping[str, object]
) -> dict[str, object]:
    name = str(entry.get(kind.identity))
    message = {"method": kind.use, str(member_of(kind.use)): name}
    return _resource(
        f"{service}/{name}:{kind.action}", service, {"methods": [POST], **route, "mcp": message}
    )  # fmt: skip


def _problems(
    kind: McpList, entry: Mapping[str, object], resource: Mapping[str, object], claimed: set[str]
) -> Iterator[str]:
    """Yield why an entry cannot be a route, or is one already; note what it claims where it can be."""
    name = entry.get(kind.identity)
    if not isinstance(name, str):
        yield f"the {kind.noun} has no {kind.identity}"
        return
    if problem := single_problem(kind.use, name, is_template=kind.is_template):
        yield problem
        return
    problems: list[Problem] = []
    parsed = parse_resource(resource, "", problems)
    yield from (each.message for each in problems if each.pointer.startswith(_OWN))
    if parsed is None:
        return
    (claim,) = claims_of((POST,), parsed.routes[0].mcp)
    if claim in claimed:
        yield f"another {kind.noun} has the same route"
    claimed.add(claim)


def _left_out(
    source: str, kind: McpList, position: int, entry: Mapping[str, object], problem: str
) -> NotTaken:
    name = entry.get(kind.identity)
    subject = f"{kind.noun} {position if not isinstance(name, str) else ascii(name)[:100]}"
    return NotTaken(source, None, subject, kind.identity, problem, kind.instead, Consequence.LEFT_OUT)
