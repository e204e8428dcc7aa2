"""Reading requests: bounded strict JSON bodies, query parameters each given once, RFC 9110 preconditions."""

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl
from uuid import UUID

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request

from extauthz.admin.problems import ParameterProblem, ProblemDetails, invalid, malformed, unreadable
from extauthz.compile.values import parse_time
from extauthz.domain.names import name_problem
from extauthz.domain.strict_json import JsonRejected, read_json
from extauthz.storage.encoding import unstorable

JSON: Final = "application/json"
MAX_BODY: Final = 2**20
MAX_BULK_BODY: Final = 8 * 2**20
_MAX_DEPTH: Final = 80
"""Room for the deepest condition tree, 32 nodes of an object and a list each, in the document around it."""
_BODY_WAIT_S: Final = 30.0
_MAX_PARAMETERS: Final = 20
_ENTITY_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*+)"')
_ENTITY_TAGS: Final = re.compile(
    # RFC 9110 5.6.1: a list, of which elements may be empty.
    rf"[ \t,]*+{_ENTITY_TAG.pattern}[ \t]*+(?:,[ \t]*+(?:{_ENTITY_TAG.pattern}[ \t]*+)?)*"
)
_REVISION: Final = re.compile("0|[1-9][0-9]{0,17}")
_NO_TIME: Final = "must be an RFC 3339 time such as 2026-01-31T08:00:00Z (a '+' is written %2B)"
_UUID: Final = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Body:
    """A body that was there, read."""

    document: object


async def read_body(
    request: Request, *, max_bytes: int, media_type: str = JSON
) -> Body | ProblemDetails | None:
    """Read a body of one media type; None when there is none. What is too long is refused before it is read.

    The document of what is not JSON is its text.
    """
    raw = await _octets(request, max_bytes)
    if isinstance(raw, ProblemDetails):
        return raw
    if not raw:
        return None
    sent = request.headers.get("content-type", media_type).partition(";")[0].strip().lower()
    if sent != media_type and not (media_type == JSON and sent.endswith("+json")):
        detail = f"the body is {sent[:80]!r}; send {media_type}"
        return unreadable(detail, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)
    if media_type != JSON:
        try:
            return Body(raw.decode("utf-8"))
        except UnicodeDecodeError as error:
            return unreadable(f"the body is not UTF-8, from byte {error.start} on")
    document = read_json(raw, max_depth=_MAX_DEPTH)
    if isinstance(document, JsonRejected):
        return unreadable(f"the body cannot be read as JSON: {document.problem}")
    problems = unstorable(document)
    return invalid(problems) if problems else Body(document)


async def _octets(request: Request, max_bytes: int) -> bytes | ProblemDetails:
    too_long = unreadable(f"the body is longer than {max_bytes} bytes", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit() or len(declared) > 18 or int(declared) > max_bytes:
        return too_long
    parts: list[bytes] = []
    length = 0
    try:
        async with asyncio.timeout(_BODY_WAIT_S):
            async for part in request.stream():
                length += len(part)
                if length > max_bytes:
                    return too_long
                parts.append(part)
    except TimeoutError:
        return unreadable("the body did not arrive in time", HTTPStatus.REQUEST_TIMEOUT)
    except ClientDisconnect:
        return unreadable("the body ended early")
    return b"".join(parts)


def read_query(raw: bytes, known: frozenset[str]) -> Mapping[str, str] | ProblemDetails:
    """Read the query string: each known parameter at most once, no other."""
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS
        )
    except ValueError:
        return malformed("the query is not UTF-8 in percent-encoding, or has too many parameters")
    found: dict[str, str] = {}
    problems: list[ParameterProblem] = []
    for name, value in pairs:
        if name not in known:
            wanted = f"known are {', '.join(sorted(known))}" if known else "there are none here"
            problems.append(ParameterProblem(name[:80], f"is not a parameter here; {wanted}"))
        elif name in found:
            problems.append(ParameterProblem(name, "is given twice"))
        found[name] = value
    return invalid(problems) if problems else found


def name_filters(query: Mapping[str, str], *names: str) -> dict[str, str] | ProblemDetails:
    """Return those of the parameters that are given; each has to be a canonical name."""
    found = {name: query[name] for name in names if name in query}
    problems = [
        ParameterProblem(name, problem)
        for name, value in found.items()
        if (problem := name_problem(value)) is not None
    ]
    return invalid(problems) if problems else found


def times(query: Mapping[str, str], *names: str) -> dict[str, datetime] | ProblemDetails:
    """Return those of the parameters that are given; each has to be an RFC 3339 time."""
    found: dict[str, datetime] = {}
    problems: list[ParameterProblem] = []
    for name in names:
        if (text := query.get(name)) is None:
            continue
        moment = parse_time(text)
        if moment is None:
            problems.append(ParameterProblem(name, _NO_TIME))
        else:
            found[name] = moment
    return invalid(problems) if problems else found


def flag(query: Mapping[str, str], name: str) -> bool | ProblemDetails:
    """Return a parameter that is `true` or `false`; left out it is false."""
    value = query.get(name, "false")
    if value not in {"true", "false"}:
        return invalid([ParameterProblem(name, "must be true or false")])
    return value == "true"


def row_id(text: str) -> UUID | None:
    """Return the id of a path; only its one canonical spelling is one."""
    return UUID(text) if _UUID.fullmatch(text) else None


@dataclass(frozen=True, slots=True)
class IfMatch:
    """`If-Match`: the revisions of the wanted row under any of which the write may go on; None is `*`."""

    revisions: frozenset[int] | None

    def allows(self, revision: int | None) -> bool:
        """Tell whether a row in this state (None: there is no row) is a wanted one."""
        if revision is None:
            return False
        return self.revisions is None or revision in self.revisions


def entity_tag(revision: int) -> str:
    """Return the strong entity tag of a row; its revision changes with every write."""
    return f'"{revision}"'


def read_if_match(headers: Headers) -> IfMatch | ProblemDetails | None:
    """Read `If-Match` (RFC 9110 13.1.1). Weak tags never match, nor do tags that we never made."""
    lines = headers.getlist("if-match")
    if not lines:
        return None
    text = ",".join(lines).strip()
    if text == "*":
        return IfMatch(None)
    if not _ENTITY_TAGS.fullmatch(text):
        return malformed("If-Match is not '*' or a list of quoted entity tags")
    return IfMatch(
        frozenset(
            int(tag) for weak, tag in _ENTITY_TAG.findall(text) if not weak and _REVISION.fullmatch(tag)
        )
    )
