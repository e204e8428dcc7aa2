"""The request of a decision case, passed on as Envoy would pass it and read as a check reads it."""

import re
from collections.abc import Mapping
from typing import Final

from extauthz.compile.conditions.request_body import WholeBody, read_body
from extauthz.domain.content_type import body_form
from extauthz.domain.envoy_text import is_known, joined, replaced
from extauthz.domain.preflight import OPTIONS, asked_method
from extauthz.domain.reasons import Reason
from extauthz.domain.request import ContextTarget, Malformed, RequestFacts
from extauthz.domain.request_line import RequestLineRejected, read_request_line

DEFAULT_HOST: Final = "app.example"
LONGEST_BODY: Final = 65_536
"""The default of CONDITION_BODY_MAX."""

_OCTETS: Final = "octets"
_ESCAPED_OCTET: Final = re.compile(rb"\\(?:x([0-9A-Fa-f]{2}))?")
_CONTENT_TYPE: Final = "content-type"
_CONTENT_ENCODING: Final = "content-encoding"
_MCP_METHOD: Final = "mcp-method"
_MCP_NAME: Final = "mcp-name"
_MCP_HEADERS: Final = (_MCP_METHOD, _MCP_NAME)
_BODY_HEADERS: Final = frozenset((_CONTENT_TYPE, _CONTENT_ENCODING, *_MCP_HEADERS))
_CONTEXT: Final = frozenset({"tenant", "resource", "action"})


class RequestInvalidError(ValueError):
    """A request that a case cannot have; the text names the member."""


def read_case_request(
    asked: Mapping[str, object], *, raw_headers: bool, longest_body: int = LONGEST_BODY
) -> RequestFacts | Malformed:
    """Read what a client sends; `raw_headers` is whether Envoy has `encode_raw_headers`.

    Bodies of up to `longest_body` octets are read; a longer one Envoy has cut.

    Raises:
        RequestInvalidError: the request is not one.
    """
    method, host = str(asked.get("method", "GET")).encode(), str(asked.get("host", DEFAULT_HOST)).encode()
    path = _octets(asked.get("path"), "path")
    raw = (method, host, path) if raw_headers else (None, None, None)
    line = read_request_line(method, host, replaced(path), *raw)
    if isinstance(line, RequestLineRejected):
        quoted = path if raw_headers else replaced(path)
        path_raw = quoted.partition(b"?")[0].decode("utf-8", "replace")
        shown = path_raw if line.reason is Reason.PATH_AMBIGUOUS else None
        return Malformed(line.reason, line.detail, path_raw=shown)
    headers, unknown = _headers(_object(asked, "headers"), raw_headers=raw_headers)
    body = None if unknown and not unknown.isdisjoint(_BODY_HEADERS) else _body(asked, headers, longest_body)
    context, source = _object(asked, "context_extensions"), _object(asked, "source")
    return RequestFacts(
        *line,
        headers=headers,
        unknown_headers=unknown,
        context=ContextTarget(**{name: str(value) for name, value in context.items() if name in _CONTEXT}),
        source_address=_optional(source, "address"),
        source_principal=_optional(source, "principal"),
        request_id=None,
        trace_id=None,
        is_grpc=False,
        body=body,
    )


def asked_by_preflight(asked: Mapping[str, object], *, raw_headers: bool) -> str | None:
    """Return the method that the request of a case asks about as a CORS preflight, None for another request.

    Raises:
        RequestInvalidError: the request is not one.
    """
    if asked.get("method") != OPTIONS:
        return None
    entries = _entries(_object(asked, "headers"))
    repeated = frozenset(name for name, seen in entries.items() if len(seen) > 1)
    values = {name: b",".join(seen) if raw_headers else joined(seen) for name, seen in entries.items()}
    return asked_method(values, repeated, has_body=False)


def _headers(given: Mapping[str, object], *, raw_headers: bool) -> tuple[dict[str, str], frozenset[str]]:
    """Return the headers as a check keeps them, and the names of those whose value is unknown."""
    kept: dict[str, str] = {}
    unknown: set[str] = set()
    for name, seen in _entries(given).items():
        value = b",".join(seen) if raw_headers else joined(seen)
        kept[name] = value.decode("utf-8", "replace")
        if (raw_headers and len(seen) > 1) or not is_known(name, value, raw=raw_headers):
            unknown.add(name)
    return kept, frozenset(unknown)


def _body(asked: Mapping[str, object], headers: Mapping[str, str], longest: int) -> WholeBody | None:
    """Return the body as conditions read it, None where they cannot."""
    if "body" not in asked:
        return None
    content, content_type = _octets(asked["body"], "body"), headers.get(_CONTENT_TYPE)
    form = None if content_type is None else body_form(content_type.encode())
    if form is None or _CONTENT_ENCODING in headers or not 0 < len(content) <= longest:
        return None
    sent = {name: headers[name].encode() for name in _MCP_HEADERS if name in headers}
    return read_body(content, form, (sent.get(_MCP_METHOD), sent.get(_MCP_NAME)))


def _entries(given: Mapping[str, object]) -> dict[str, list[bytes]]:
    """Return what the client sends of each header, by lower-case name."""
    entries: dict[str, list[bytes]] = {}
    for name, value in given.items():
        listed = value if isinstance(value, list) else [value]
        entries.setdefault(name.lower(), []).extend(_octets(one, f"headers, {name}") for one in listed)
    return {name: seen for name, seen in entries.items() if seen}


def _octets(value: object, where: str) -> bytes:
    """Return what the client sends: text as UTF-8, or `{octets: ...}` with `\\xNN` for one octet."""
    if not isinstance(value, Mapping):
        if value is None or isinstance(value, list):
            raise RequestInvalidError(f"{where}: text or {{octets: ...}} is needed")
        return _utf8(str(value), where)
    text = value.get(_OCTETS)
    if set(value) != {_OCTETS} or not isinstance(text, str):
        raise RequestInvalidError(f"{where}: {{octets: text}} is needed, found {sorted(map(str, value))}")

    def octet(found: re.Match[bytes]) -> bytes:
        if found[1] is None:
            raise RequestInvalidError(f"{where}: in octets a backslash begins \\xNN; write \\x5c for one")
        return bytes.fromhex(found[1].decode())

    return _ESCAPED_OCTET.sub(octet, _utf8(text, where))


def _utf8(text: str, where: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise RequestInvalidError(f"{where}: a lone surrogate is not text; write {{octets: ...}}") from None


def _object(asked: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = asked.get(name, {})
    if not isinstance(value, Mapping):
        raise RequestInvalidError(f"{name}: an object is needed")
    return value


def _optional(document: Mapping[str, object], member: str) -> str | None:
    value = document.get(member)
    return None if value is None else str(value)
