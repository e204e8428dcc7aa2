"""The tools of an MCP server become resources with routes, one a tool; no rule allows any of them.

Input: the answer to `tools/list`, as a JSON-RPC message or its result. Output: `Imported`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from extauthz.compile.documents.mcp_routes import PRESET, tool_problem
from extauthz.compile.documents.resource_documents import resource_name_problem
from extauthz.domain.names import name_problem
from extauthz.importing.outcome import Consequence, Imported, NotTaken

MAX_TOOLS: Final = 10_000
_CONNECT: Final = ":connect"
_CALL: Final = ":call"


class NoToolsError(ValueError):
    """The document is not an answer to `tools/list`; the text says what it is."""


def tools_of(document: object) -> Sequence[Mapping[str, object]]:
    """Return the tools of an answer.

    Raises:
        NoToolsError: it is not an answer to `tools/list`.
    """
    result = document.get("result", document) if isinstance(document, Mapping) else None
    if isinstance(document, Mapping) and "error" in document:
        raise NoToolsError("the answer is an error of the server")
    tools = result.get("tools") if isinstance(result, Mapping) else None
    if not isinstance(tools, list) or not all(isinstance(tool, Mapping) for tool in tools):
        raise NoToolsError("an answer to tools/list is needed: {'tools': [{'name': ...}, ...]}")
    if len(tools) > MAX_TOOLS:
        raise NoToolsError(f"{len(tools)} tools, at most {MAX_TOOLS} are taken")
    return tools


def import_tools(
    tools: Sequence[Mapping[str, object]], *, source: str, service: str, path: str, host: str | None = None
) -> Imported:
    """Return a resource for the session and one for each tool. `source` names where they come from."""
    imported = Imported("mcp")
    imported.note("No rule allows any of these resources: write the roles that may call each tool.")
    route = {"path": path} if host is None else {"host": host, "path": path}
    session = {"methods": ["POST", "GET", "DELETE"], **route, "mcp": PRESET}
    imported.add(
        "resources", _resource(f"{service}{_CONNECT}", service, session), "initialize, lists, notifications"
    )
    names: set[str] = set()
    for position, tool in enumerate(tools):
        problem = next(_problems(tool.get("name"), service, names), None)
        if problem is not None:
            imported.not_taken.append(_left_out(source, position, tool, problem))
            continue
        name = str(tool["name"])
        names.add(name)
        described = tool.get("description")
        call = {"methods": ["POST"], **route, "mcp": {"method": "tools/call", "tool": name}}
        comment = described if isinstance(described, str) and described.strip() else name
        imported.add("resources", _resource(f"{service}/{name}{_CALL}", service, call), comment[:200])
    return imported


def _resource(name: str, service: str, route: Mapping[str, object]) -> dict[str, object]:
    return {"name": name, "serviceName": service, "routes": [dict(route)]}


def _problems(name: object, service: str, names: set[str]) -> Iterator[str]:
    if not isinstance(name, str):
        yield "the tool has no name"
        return
    if problem := tool_problem(name):
        yield f"the name of a tool needs {problem}"
    if name in names:
        yield "another tool has the same name"
    resource = f"{service}/{name}{_CALL}"
    if problem := name_problem(resource) or resource_name_problem(resource):
        yield f"its resource {problem}"


def _left_out(source: str, position: int, tool: Mapping[str, object], problem: str) -> NotTaken:
    name = tool.get("name")
    subject = f"tool {position}" if not isinstance(name, str) else f"tool {ascii(name)[:100]}"
    return NotTaken(
        source, None, subject, "name", problem, "rename it in the server", Consequence.LEFT_OUT
    )  # fmt: skip
