"""Istio's string matches as conditions: exact, `prefix*`, `*suffix`, and `*` for anything that is not empty.

Where the star stands elsewhere it is an ordinary character for Istio, and here. Hosts, paths and methods have
rules of their own, because requests are made canonical here before anything compares them.
"""

import re
from dataclasses import dataclass
from typing import Final

from extauthz.domain.host import HostRejected, canonical_host
from extauthz.domain.path import CanonicalPath
from extauthz.importing.bounds import (
    ALWAYS,
    Bounds,
    ConditionDocument,
    Inexact,
    any_of,
    both,
    condition,
    either,
    exactly,
    unheld,
)

METHOD: Final = "request.method"
HOST: Final = "request.host"
PATH: Final = "request.path"
HEAD_NOTE: Final = (
    "HEAD is decided as GET: where Istio allows GET and not HEAD, HEAD is allowed here, and a deny of GET "
    "is one of HEAD."
)
_PATH_TEXT: Final = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,=:@/]+", re.ASCII)
_TEMPLATE_LITERAL: Final = re.compile(r"[A-Za-z0-9\-._~!$&'()+,:@=]*", re.ASCII)
# What Envoy's uri_template takes for `{*}` and `{**}`: of canonical paths everything, since CVE-2025-46821.
_OPERATORS: Final = {"{*}": "[^/]+", "{**}": ".*"}
_HEX: Final = re.compile("[0-9A-Fa-f]{1,2}", re.ASCII)
_HOST_TEXT: Final = re.compile("[a-z0-9._-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class ListedValue:
    """One value of a list of the source, and where it stands."""

    text: str
    line: int
    member: str

    def gap(self, reason: str, instead: str) -> Inexact:
        """Return why the value has no exact equal."""
        return Inexact(self.line, f"{self.member} {self.text!r}", reason, instead)


def text_condition(attribute: str, text: str, prefix: str = "") -> ConditionDocument:
    """Return Istio's match of a string; `prefix` stands before what is compared."""
    if text == "*":
        return condition(attribute, "matches", ".+")
    if text.startswith("*") and not prefix:
        return condition(attribute, "endsWith", text[1:])
    if text.endswith("*") and not text.startswith("*"):
        return condition(attribute, "startsWith", prefix + text[:-1])
    return condition(attribute, "eq", prefix + text)


def path(value: ListedValue) -> Bounds:
    """Return the bounds of one entry of `paths`."""
    text = value.text
    if text == "*":
        return exactly(ALWAYS)
    if "{" in text or "}" in text:
        return _template(value)
    body = text[1:] if text.startswith("*") else text.removesuffix("*")
    if not _PATH_TEXT.fullmatch(body) or "//" in body:
        return unheld(
            value.gap(
                "it has an escape, an empty segment or a character that no canonical path has",
                "write it as paths are here: decoded once",
            )
        )
    if text.startswith("*"):
        return _path_suffix(value, body)
    if not text.startswith("/"):
        return unheld(value.gap("no path begins so", "begin with '/'"))
    if text.endswith("*"):
        return exactly(condition(PATH, "startsWith", body))
    if not isinstance(CanonicalPath.parse(text), CanonicalPath):
        return unheld(value.gap("no request can have this path here", "leave it out"))
    return exactly(condition(PATH, "eq", text))


def _path_suffix(value: ListedValue, body: str) -> Bounds:
    """Return the bounds of a suffix, whose first characters can be the end of an escape such as %2A.

    Istio compares the digits of an escape as they were sent; here they are upper-case.
    """
    node = condition(PATH, "endsWith", body)
    inside = [
        f".*%{before}{body[:count].upper()}{re.escape(body[count:])}"
        for count, before in ((1, "[0-9A-F]"), (2, ""))
        if len(body) >= count and _HEX.fullmatch(body[:count]) and not body[:count].isdigit()
    ]
    if not inside:
        return exactly(node)
    gap = value.gap(
        "it could begin inside of an escape such as %2A, whose digits are upper-case here",
        "begin it with '/', '.' or '-'",
    )
    escaped = either(*[condition(PATH, "matches", pattern) for pattern in inside])
    not_escaped: ConditionDocument = {"type": "NOT", "condition": escaped}
    return Bounds(both(node, not_escaped), either(node, escaped), (gap,), (gap,))


def _template(value: ListedValue) -> Bounds:
    if not value.text.startswith("/"):
        return unheld(value.gap("no path begins so", "begin with '/'"))
    written: list[str] = []
    any_seen = False
    for segment in value.text[1:].split("/"):
        if segment in _OPERATORS:
            if any_seen:
                return unheld(value.gap("{**} is not the last operator", "write one {**} at the end"))
            any_seen = segment == "{**}"
            written.append(_OPERATORS[segment])
        elif _TEMPLATE_LITERAL.fullmatch(segment):
            written.append(re.sub(r"([$()+.])", r"\\\1", segment))
        else:
            return unheld(
                value.gap(f"the segment {segment!r} is neither literal nor {{*}} or {{**}}", "mend it")
            )
    if "" in written[:-1]:
        return unheld(value.gap("it has an empty segment", "leave it out"))
    return exactly(condition(PATH, "matches", "/" + "/".join(written)))


def methods(values: list[ListedValue], notes: list[str]) -> Bounds:
    """Return the bounds of `methods`: a HEAD is compared as a GET."""
    heads = any(_method_matches(value.text, "HEAD") for value in values)
    gets = any(_method_matches(value.text, "GET") for value in values)
    if gets and not heads and HEAD_NOTE not in notes:
        notes.append(HEAD_NOTE)
    parts: list[Bounds] = []
    for value in values:
        if value.text == "*":
            return exactly(ALWAYS)
        node = text_condition(METHOD, value.text)
        if heads and not gets and _method_matches(value.text, "HEAD"):
            gap = value.gap("HEAD is decided as GET, and the list does not name GET", "name GET and HEAD")
            wider = {"type": "OR", "conditions": [node, condition(METHOD, "eq", "GET")]}
            inner = None if value.text == "HEAD" else node
            parts.append(Bounds(inner, wider, (gap,), (gap,)))
        elif value.text != "HEAD":
            parts.append(exactly(node))
    return any_of(parts)


def _method_matches(text: str, method: str) -> bool:
    if text == "*":
        return True
    if text.startswith("*"):
        return method.endswith(text[1:])
    return method.startswith(text[:-1]) if text.endswith("*") else text == method


def host(value: ListedValue) -> Bounds:
    """Return the bounds of one entry of `hosts`: a port and a final dot are part of what Istio compares."""
    if value.text == "*":
        return exactly(ALWAYS)
    gap = value.gap(
        "Istio compares the host as it was sent, with port and final dot, which are dropped here",
        "write routes with a host, or a condition on request.host",
    )
    node = _host(value.text.lower())
    return Bounds(None, node, (gap,), (gap,))


def _host(text: str) -> ConditionDocument | None:
    """Return a condition that is true for every host that Istio's match takes, whatever its port."""
    body = text[1:] if text.startswith("*") else text.removesuffix("*")
    name, colon, _ = body.partition(":")
    name = name.rstrip(".")
    if not _HOST_TEXT.fullmatch(name):
        return None
    if text.startswith("*"):
        return None if colon else condition(HOST, "endsWith", name)
    if text.endswith("*") and not colon:
        return condition(HOST, "startsWith", name)
    canonical = canonical_host(name)
    return None if isinstance(canonical, HostRejected) else condition(HOST, "eq", canonical)
