"""Registers what the tools of an MCP server declare: one resource a tool, and one for the session.

    server = MCPServer("invoices")

    @server.tool(name="delete-invoice")
    @resource("delete-invoice:call", default_roles=["clerk"])
    def delete_invoice(number: int) -> str: ...

    protect(server, client, service_name="invoices")

Works with servers of the official SDK (`MCPServer`, before version 2 `FastMCP`). Call `protect` when all
tools are there. A tool that declares nothing has no route: calls of it are denied. So has one whose name no
route can have.
"""

import re
from collections.abc import Collection, Iterator
from typing import Any, Final

from extauthz_client.api import SyncExtauthzClient
from extauthz_client.declarations import DeclaredResources, declaration_on, joined, log, named
from extauthz_client.models import Resource, Route
from extauthz_client.paths import AppPath, host_problem
from extauthz_client.registration import BackgroundRegistration

SESSION_METHODS: Final = ("DELETE", "GET", "POST")
ANY_TOOL: Final = "*"
"""Stands for every tool in a route; a tool of that name has none of its own."""
MAX_TOOL: Final = 128
_TOOL: Final = re.compile("[!-~]{1,128}")


def protect(
    server: Any,
    client: SyncExtauthzClient,
    *,
    service_name: str,
    path: str = "/mcp",
    host: str | None = None,
    session_roles: Collection[str] = (),
) -> BackgroundRegistration:
    """Register what the tools of the server declare, in the background.

    The client is open until the registration is stopped. `path` is what the mesh sees of the server, `host`
    None is every host. `session_roles` may connect: `initialize`, lists, notifications.
    """
    found = declared_resources(
        server, service_name, path=path, host=host, session_roles=session_roles
    )  # fmt: skip
    return BackgroundRegistration(client, lambda: found)


def declared_resources(
    server: Any,
    service_name: str,
    *,
    path: str = "/mcp",
    host: str | None = None,
    session_roles: Collection[str] = (),
) -> DeclaredResources:
    """Return the resources that the tools of a server declare, the session's first.

    The session is the resource `SERVICE:connect`. Arguments as in `protect`.

    Raises:
        TypeError: it is not a server whose tools can be found, or `session_roles` is one string.
        ValueError: the path or the host is not one of the mesh.
    """
    if isinstance(session_roles, str):
        raise TypeError(f"session_roles is a list of roles: [{session_roles!r}]")
    template = AppPath.parse(path) if path.startswith("/") and "{" not in path else "write it as '/mcp'"
    problem = template if isinstance(template, str) else host_problem(host)
    if problem is not None or isinstance(template, str):
        raise ValueError(f"the path {path!r} or the host {host!r} is not one of the mesh: {problem}")
    session = Route(SESSION_METHODS, template.template, host, mcp="session")
    connect = f"{service_name}:connect"
    found = {
        connect: Resource(
            connect, service_name, default_roles=tuple(dict.fromkeys(session_roles)), routes=(session,)
        )
    }
    places: dict[str, list[str]] = {}
    roles: dict[str, tuple[str, ...]] = {}
    for tool, function in _tools(server):
        place = named(function)
        declared = declaration_on(function)
        if declared is None:
            log.warning("the tool %r declares no resource: calls of it are denied (%s)", tool, place)
            continue
        if tool == ANY_TOOL or _TOOL.fullmatch(tool) is None:
            log.warning(
                "the tool %r is not registered: no route can have its name; take at most %d visible ASCII "
                "characters without blanks, and not %r (declared by %s)",
                tool, MAX_TOOL, ANY_TOOL, place,
            )  # fmt: skip
            continue
        name = declared.name
        if name == connect:
            log.warning(
                "the tool %r is not registered: %r is the session; give it another name (declared by %s)",
                tool, name, place,
            )  # fmt: skip
            continue
        call = Route(
            ("POST",),
            template.template,
            host,
            declared.action,
            declared.authentication,
            mcp={"method": "tools/call", "tool": tool},
        )
        known = found.get(name) or Resource(name, service_name)
        found[name] = joined(known, declared, call, place, places.get(name, []), roles.get(name))
        places.setdefault(name, []).append(place)
        if declared.default_roles:
            roles[name] = found[name].default_roles
    return DeclaredResources(found.values(), places)


def _tools(server: Any) -> Iterator[tuple[str, object]]:
    """Yield the name and the function of each tool. The SDK has no public way to the function."""
    manager = getattr(server, "_tool_manager", None)
    listed = getattr(manager, "list_tools", None)
    if listed is None:
        raise TypeError(f"{type(server).__name__} is not a server of the MCP SDK whose tools can be found")
    for tool in listed():
        yield tool.name, tool.fn
