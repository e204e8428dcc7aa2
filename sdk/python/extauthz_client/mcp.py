"""Registers what tools, resources and prompts of an MCP server declare, and a resource for the session.

    server = MCPServer("invoices")

    @server.tool(name="delete-invoice")
    @resource("delete-invoice:call", default_roles=["clerk"])
    def delete_invoice(number: int) -> str: ...

    @server.resource("reports://{year}/{name}")
    @resource("report:read", default_roles=["clerk"])
    def report(year: str, name: str) -> str: ...

    @server.prompt(name="greeting")
    @resource("greeting:get", default_roles=["clerk"])
    def greeting() -> str: ...

    protect(server, client, service_name="invoices")

Works with servers of the official SDK (`MCPServer`, before version 2 `FastMCP`). Call `protect` when all of
them are there. What declares nothing has no route: messages about it are denied.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Final

from extauthz_client.api import SyncExtauthzClient
from extauthz_client.declarations import DeclaredResources, declaration_on, joined, log, named
from extauthz_client.models import Resource, Route
from extauthz_client.paths import AppPath, host_problem
from extauthz_client.registration import BackgroundRegistration

SESSION_METHODS: Final = ("DELETE", "GET", "POST")
_LONGEST_NAME: Final = 128
_LONGEST_URI: Final = 512
_MOST_PARAMETERS: Final = 16
_ANY: Final = "*"
_VISIBLE: Final = re.compile("[!-~]+")
_VISIBLE_NEEDED: Final = "take at most %d visible ASCII characters without blanks"
_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})\}", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Message:
    """A message that a server answers, and the function that does; None where it has none.

    `name` is what it is about: a tool, a prompt, a URI or its template. `member` is what a route calls that.
    """

    noun: str
    method: str
    member: str
    name: str
    function: object
    is_template: bool = False

    @property
    def place(self) -> str:
        """The function, for an author to find it."""
        return self.name if self.function is None else named(self.function)

    def problem(self) -> str | None:
        """Return why no route can be about this name; None where one can."""
        if self.name == _ANY:
            return f"no route can have this name: {_ANY!r} stands for every {self.member}"
        longest = _LONGEST_URI if self.member == "uri" else _LONGEST_NAME
        if _VISIBLE.fullmatch(self.name) is None or len(self.name) > longest:
            return f"no route can have this name: {_VISIBLE_NEEDED % longest}"
        return _uri_problem(self.name, is_template=self.is_template) if self.member == "uri" else None

    @property
    def shape(self) -> str:
        """What two routes cannot both have."""
        return _PARAMETER.sub("{}", self.name) if self.is_template else self.name


def protect(
    server: Any,
    client: SyncExtauthzClient,
    *,
    service_name: str,
    path: str = "/mcp",
    host: str | None = None,
    session_roles: Collection[str] = (),
) -> BackgroundRegistration:
    """Register what the tools, resources and prompts of the server declare, in the background.

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
    """Return the resources that tools, resources and prompts of a server declare, the session's first.

    The session is the resource `SERVICE:connect`. Arguments as in `protect`. What no route can say is warned
    of and left out.

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
    taken: set[tuple[str, str]] = set()
    for message in _messages(server):
        shown, place = f"the {message.noun} {message.name!r}", message.place
        declared = None if message.function is None else declaration_on(message.function)
        if declared is None:
            log.warning("%s declares no resource: %s is denied (%s)", shown, message.method, place)
            continue
        name = declared.name
        problem = message.problem()
        if problem is None and name == connect:
            problem = f"{name!r} is the session; give it another name"
        if problem is None and (message.method, message.shape) in taken:
            problem = "another one has the same route"
        if problem is not None:
            log.warning("%s is not registered: %s (declared by %s)", shown, problem, place)
            continue
        taken.add((message.method, message.shape))
        route = Route(
            ("POST",),
            template.template,
            host,
            declared.action,
            declared.authentication,
            mcp={"method": message.method, message.member: message.name},
        )
        known = found.get(name) or Resource(name, service_name)
        found[name] = joined(known, declared, route, place, places.get(name, []), roles.get(name))
        places.setdefault(name, []).append(place)
        if declared.default_roles:
            roles[name] = found[name].default_roles
    return DeclaredResources(found.values(), places)


def _messages(server: Any) -> Iterator[_Message]:
    for tool in _listed(server, "_tool_manager", "list_tools"):
        yield _Message("tool", "tools/call", "tool", tool.name, tool.fn)
    for one in _listed(server, "_resource_manager", "list_resources"):
        # One with a text or a file of its own has no function.
        yield _Message("resource", "resources/read", "uri", str(one.uri), getattr(one, "fn", None))
    for one in _listed(server, "_resource_manager", "list_templates"):
        yield _Message(
            "resource template", "resources/read", "uri", one.uri_template, one.fn, is_template=True
        )
    for prompt in _listed(server, "_prompt_manager", "list_prompts"):
        yield _Message("prompt", "prompts/get", "prompt", prompt.name, prompt.fn)


def _listed(server: Any, manager: str, method: str) -> Any:
    """Return what a server has of a kind. The SDK has no public way to the functions."""
    listed = getattr(getattr(server, manager, None), method, None)
    if listed is None:
        raise TypeError(f"{type(server).__name__} is not a server of the MCP SDK whose tools can be found")
    return listed()


def _uri_problem(uri: str, *, is_template: bool) -> str | None:
    """Return why no route can have a URI, or a template of RFC 6570; None where one can."""
    pieces = _PARAMETER.split(uri)
    literals, names = pieces[::2], pieces[1::2]
    if any("{" in literal or "}" in literal for literal in literals) or (names and not is_template):
        return "in a route '{name}' stands for a part of the URI, and no other brackets are taken"
    if len(set(names)) < len(names) or len(names) > _MOST_PARAMETERS:
        return f"each parameter may appear once, at most {_MOST_PARAMETERS} of them"
    if any(not literal for literal in literals[1:-1]):
        return "between two parameters there has to be some text"
    return None
