"""A plain implementation of which route covers a message of MCP (policy language, section MCP messages)."""

import base64
import re
from collections.abc import Mapping
from typing import Any, Final

from tests.reference_bodies import UnsureError, member

NAMED: Final = {
    "tools/call": ("tool", "params.name"),
    "prompts/get": ("prompt", "params.name"),
    "resources/read": ("uri", "params.uri"),
    "resources/subscribe": ("uri", "params.uri"),
    "resources/unsubscribe": ("uri", "params.uri"),
}
SESSION: Final = {
    *("initialize", "server/discover", "ping", "tools/list", "prompts/list", "resources/list"),
    *("resources/templates/list", "subscriptions/listen", "an answer"),
}


def message(body: Any, headers: Mapping[str, list[Any]]) -> tuple[str, str | None] | None:
    """Return the method and what it names, None where the body is not a message."""
    try:
        found = posted(body)
    except UnsureError:
        return None
    if found is None:
        return None
    method, name = found
    for header, wanted in (("mcp-method", method), ("mcp-name", name or "")):
        for value in headers.get(header, []):
            text = value
            if re.fullmatch(r"=\?base64\?.*\?=", value):
                text = base64.b64decode(value[9:-2]).decode()
            if text != wanted:
                return None
    return found


def posted(body: Any) -> tuple[str, str | None] | None:
    if not isinstance(body, dict) or member(body, "jsonrpc") != "2.0":
        return None
    there = {name for name in ("method", "params", "result", "error") if member(body, name) is not None}
    if there in ({"result"}, {"error"}):
        return "an answer", None
    method = member(body, "method")
    if not isinstance(method, str) or there & {"result", "error"}:
        return None
    if method not in NAMED:
        return method, None
    name = member(body, NAMED[method][1])
    return (method, name) if isinstance(name, str) and name else None


def covers(written: Any, found: tuple[str, str | None]) -> tuple[int, dict[str, str]] | None:
    """Rank how a route covers a message, lower is better, with the parameters of its URI."""
    method, name = found
    if written == "session":
        return (1, {}) if method in SESSION or method.startswith("notifications/") else None
    if written["method"] == "notifications/*":
        return (1, {}) if method.startswith("notifications/") else None
    if written["method"] != method:
        return None
    if name is None:
        return 0, {}
    pattern = written[NAMED[method][0]]
    if pattern == name:
        return 0, {}
    if pattern == "*":
        return 10_000, {}
    if "{" not in pattern:
        return None
    regex = re.sub(r"\\\{(\w+)\\\}", lambda found: f"(?P<{found[1]}>[\\w.~-]+)", re.escape(pattern))
    matched = re.fullmatch(regex, name, re.ASCII)
    if matched is None or any(each == "." or each.startswith("..") for each in matched.groups()):
        return None
    return 5_000 - len(re.sub(r"\{\w+\}", "{}", pattern)), matched.groupdict()
