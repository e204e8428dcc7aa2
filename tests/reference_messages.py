"""A plain implementation of which route covers a message of MCP (policy language, section MCP messages)."""

import base64
import re
from collections.abc import Mapping
from typing import Any, Final

from pydantic_core import Url

from tests.reference_bodies import UnsureError, loose, member

NAMED: Final = {
    "tools/call": ("tool", "params.name"),
    "prompts/get": ("prompt", "params.name"),
    "resources/read": ("uri", "params.uri"),
    "resources/subscribe": ("uri", "params.uri"),
    "resources/unsubscribe": ("uri", "params.uri"),
}
LISTENED_TO: Final = "params.notifications.resourceSubscriptions"
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
    if method != "an answer" and member(body, "method") != method:
        method, name = member(body, "method"), None
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
    if method == "subscriptions/listen" and (uris := member(body, LISTENED_TO)) not in (None, []):
        one = isinstance(uris, list) and len(uris) == 1 and isinstance(uris[0], str) and uris[0]
        return ("resources/subscribe", uris[0]) if one else None
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
    if NAMED[method][0] == "uri" and not is_usual(name):
        return None
    if pattern == "*":
        return 10_000, {}
    if "{" not in pattern:
        return None
    regex = re.sub(r"\\\{(\w+)\\\}", lambda found: f"(?P<{found[1]}>[\\w.~-]+)", re.escape(pattern))
    matched = re.fullmatch(regex, name, re.ASCII)
    if matched is None or any(each == "." or each.startswith("..") for each in matched.groups()):
        return None
    return 5_000 - len(re.sub(r"\{\w+\}", "{}", pattern)), matched.groupdict()


def is_usual(uri: str) -> bool:
    """Tell whether no reader that normalizes makes another URI of it."""
    try:
        same = str(Url(uri)) == uri
    except ValueError:
        same = False
    segments = re.split("[?#]", uri.partition(":")[2])[0].removeprefix("//").split("/")
    octets = [chr(int(digits, 16)) for digits in re.findall("%([0-9A-Fa-f]{2})", uri)]
    return (
        same
        and uri.isascii()
        and not {".", ".."} & set(segments)
        and "" not in segments[1:-1]
        and not any(each in "-._~/\\" or (each.isascii() and each.isalnum()) for each in octets)
    )


def others(written: Any, found: tuple[str, str | None]) -> bool:
    """Tell whether a route names what a reader could take the message for."""
    method, name = found
    if name is None or isinstance(written, str) or written["method"] != method:
        return False
    member_name = NAMED[method][0]
    pattern = written[member_name]
    if pattern in {"*", name}:
        return False
    if member_name != "uri":
        return loose(pattern) == loose(name)
    scheme, slashes, rest = name.partition("://")
    host, slash, path = rest.partition("/")
    lower = f"{scheme}{slashes}{host.lower()}{slash}{path}"
    return lower != name and covers(written, (method, lower)) is not None
