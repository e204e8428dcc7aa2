"""Reads the member `mcp` of a route: which messages of the Model Context Protocol it covers."""

import re
from collections.abc import Sequence
from typing import Final

from extauthz.compile.fields import Fields, shown
from extauthz.compile.routes.mcp_messages import UriTemplate
from extauthz.domain.mcp import ANY_NAME, ANY_NOTIFICATION, NAME_MEMBERS, POST, SESSION, McpPattern

PRESET: Final = "session"
_SESSION_METHODS: Final = frozenset((POST, "GET", "DELETE"))
_MEMBERS: Final = {"tools/call": "tool", "prompts/get": "prompt"}
"""What a route calls the name of a message of the method; of the others it is `uri`."""
_METHOD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.$-]*(/[A-Za-z0-9_.$-]+)*", re.ASCII)
_MAX_METHOD: Final = 64
_MAX_NAME: Final = 128
_MAX_URI: Final = 512
_VISIBLE: Final = re.compile("[!-~]+")


def member_of(method: str) -> str | None:
    """Return the member of a route that names what messages of the method are about; None without one."""
    return _MEMBERS.get(method, NAME_MEMBERS.get(method))


def parse_mcp(fields: Fields, methods: Sequence[str], names: Sequence[str]) -> tuple[McpPattern, ...]:
    """Return the messages that a route covers, none for a plain route; `names` are those of its path.

    Problems are noted.
    """
    if not fields.has("mcp"):
        fields.get("mcp")
        return ()
    written = fields.get("mcp")
    if written == PRESET:
        if POST not in methods or not _SESSION_METHODS.issuperset(methods):
            fields.note(
                "methods", "of 'mcp: session' are POST, and GET and DELETE where the server has sessions"
            )
        return SESSION
    if not isinstance(written, dict):
        fields.note("mcp", f"found {shown(written)}, an object with 'method' or {PRESET!r} is needed")
        return ()
    if tuple(methods) != (POST,):
        fields.note("methods", "of a route with 'mcp' are ['POST']: messages are posted")
    pattern = _pattern(Fields(written, fields.at("mcp"), fields.problems), names)
    return () if pattern is None else (pattern,)


def patterns_of(written: object) -> tuple[McpPattern, ...]:
    """Return the messages of a member that was checked; none where it is not there."""
    if not isinstance(written, dict):
        return SESSION if written == PRESET else ()
    method = str(written["method"])
    member = member_of(method)
    return (McpPattern(method, None if member is None else str(written[member])),)


def mcp_document(patterns: tuple[McpPattern, ...]) -> str | dict[str, str]:
    """Return the member as it is written."""
    if patterns == SESSION:
        return PRESET
    (pattern,) = patterns
    member = member_of(pattern.method)
    if member is None or pattern.name is None:
        return {"method": pattern.method}
    return {"method": pattern.method, member: pattern.name}


def _pattern(fields: Fields, names: Sequence[str]) -> McpPattern | None:
    method = fields.text("method")
    if method is not None and not _is_method(method):
        fields.note("method", f"found {shown(method)}, a method such as 'tools/call' is needed")
        method = None
    member = None if method is None else member_of(method)
    name = None
    if member is not None:
        name = fields.text(member, max_length=_MAX_URI)
        problem = None if name is None else _problem(member, name, names)
        if problem is not None:
            fields.note(member, f"found {shown(name)}, {problem}")
            name = None
    fields.done()
    if method is None or (member is not None and name is None):
        return None
    return McpPattern(method, name)


def _is_method(text: str) -> bool:
    fits = _METHOD.fullmatch(text) is not None and len(text) <= _MAX_METHOD
    return fits or text == ANY_NOTIFICATION


def single_problem(method: str, name: str, *, is_template: bool = False) -> str | None:
    """Return why no route can be about exactly this name of a message; None where one can.

    `is_template` says that a URI is meant as a template, whose `{name}` stands for a part of it.
    """
    member = _MEMBERS.get(method, NAME_MEMBERS[method])
    if name == ANY_NAME:
        return f"found {shown(name)}, which in a route stands for every {member}"
    problem = _problem(member, name, ())
    if problem is None and member == "uri" and not is_template and "{" in name:
        problem = "in a route '{name}' stands for a part of the URI"
    return problem and f"found {shown(name)}, {problem}"


def _text_problem(name: str, most: int) -> str | None:
    if _VISIBLE.fullmatch(name) is None or len(name) > most:
        return f"at most {most} visible ASCII characters without blanks"
    return None


def _problem(member: str, name: str, names: Sequence[str]) -> str | None:
    if name == ANY_NAME:
        return None
    problem = _text_problem(name, _MAX_URI if member == "uri" else _MAX_NAME)
    if problem is not None or member != "uri":
        return problem and f"{problem} are needed"
    template = UriTemplate.parse(name)
    if isinstance(template, str):
        return template
    if both := sorted(set(template.names).intersection(names)):
        return f"the parameter {both[0]!r} is in the path, too"
    return None
