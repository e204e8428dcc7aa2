"""A plain implementation of requests and routes (policy language, sections Attributes and Routes)."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeAlias
from urllib.parse import unquote, unquote_to_bytes

from extauthz.domain.path import CanonicalPath
from tests.reference_bodies import read_body
from tests.reference_messages import covers, message, others

Document: TypeAlias = Mapping[str, Any]

DEFAULT_HOST: Final = "app.example"


class Target(NamedTuple):
    resource: str
    action: str
    service: str | None
    parameters: Document
    authentication: str
    action_properties: Document = {}  # noqa: RUF012 - never changed
    context: Document = {}  # noqa: RUF012 - never changed


AMBIGUOUS: Final = Target("", "", None, {}, authentication="required")
UNCOVERED: Final = Target("?", "", None, {}, authentication="required")
"""A path whose messages have routes, and a message that has none."""
"""Where a path leads that only another spelling of its reserved characters leads to the best template."""


def read_request(asked: Document, *, raw_headers: bool) -> dict[str, Any]:
    """Return the target; `refused` is the reason where there is none, else None."""
    raw_path, mark, raw_query = sent(asked["path"]).partition(b"?")
    path = text_of(raw_path, raw=raw_headers)
    canonical = None if path is None else CanonicalPath.parse(path)
    query = text_of(raw_query, raw=raw_headers)
    method, host = asked.get("method", "GET"), asked.get("host", DEFAULT_HOST)
    source = asked.get("source") or {}
    entries: dict[str, list[Any]] = {}
    for name, value in (asked.get("headers") or {}).items():
        entries.setdefault(name.lower(), []).extend(value if isinstance(value, list) else [value])
    return {
        "refused": refused(method, host, canonical, raw_query, raw_headers=raw_headers),
        "path": canonical.text if isinstance(canonical, CanonicalPath) else None,
        "method": "GET" if method == "HEAD" else method,
        "host": host.lower().partition(":")[0].removesuffix("."),
        "query": {} if not mark else None if query is None else read_query(query),
        "headers": {name: header(values, raw=raw_headers) for name, values in entries.items() if values},
        "body": read_body(asked),
        "context": asked.get("context_extensions") or {},
        "address": source.get("address"),
        "principal": source.get("principal"),
    }


def refused(method: str, host: str, path: object, raw_query: bytes, *, raw_headers: bool) -> str | None:
    token = 0 < len(method) <= 64 and all(char.isalnum() or char in "!#$%&'*+-.^_`|~" for char in method)
    if not (token and method.isascii()) or method == "CONNECT" or ("!" in method and not raw_headers):
        return "request_malformed"
    if not all(char.isalnum() or char in "-_.:[]" for char in host):
        return "request_malformed"
    return "path_ambiguous" if not isinstance(path, CanonicalPath) or b"#" in raw_query else None


def sent(value: Any) -> bytes:
    """Return the octets that a case writes as text, or as text with escaped octets."""
    if not isinstance(value, Mapping):
        return str(value).encode()
    first, *rest = value["octets"].split("\\x")
    return str(first).encode() + b"".join(bytes.fromhex(piece[:2]) + piece[2:].encode() for piece in rest)


def text_of(octets: bytes, *, raw: bool) -> str | None:
    """Return the text that was sent, None where Envoy's spelling of it can stand for another."""
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if raw or "!" not in text else None


def header(values: list[Any], *, raw: bool) -> list[Any]:
    """Return the one value of a header, or two where it is not known."""
    text = text_of(sent(values[0]), raw=raw) if len(values) == 1 else None
    return ["unknown", "unknown"] if text is None or ("," in text and not raw) else [text]


@lru_cache(maxsize=4096)
def read_query(raw: str) -> dict[str, list[str]] | None:
    """Return all values of every name, decoded once; None for a query that cannot be read."""
    values: dict[str, list[str]] = {}
    if ";" in raw:
        return None
    for pair in raw.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            decoded_name, decoded_value = decode_query(name), decode_query(value)
            if decoded_name is None or decoded_value is None or has_control(decoded_name):
                return None
            # A value with a control character is as unknown as a repeated one.
            values.setdefault(decoded_name, []).extend(
                [decoded_value] * (2 if has_control(decoded_value) else 1)
            )
            if "[" in decoded_name:
                for whole in {re.sub(r"^\[([^\]]*).*|\[.*", r"\1", decoded_name, flags=re.DOTALL)} | set(
                    re.findall(r"^([^\[]*\[[^\]]*\]).", decoded_name, flags=re.DOTALL)
                ):
                    values.setdefault(whole, []).extend(["a part", "a part"])
    return values


def has_control(text: str) -> bool:
    return any(unicodedata.category(character) == "Cc" for character in text)


def decode_query(text: str) -> str | None:
    for piece in text.split("%")[1:]:
        if len(piece) < 2 or any(digit not in "0123456789abcdefABCDEF" for digit in piece[:2]):
            return None
    try:
        return unquote_to_bytes(text.replace("+", " ")).decode("utf-8")
    except UnicodeDecodeError:
        return None


def default_action(resource: str) -> str:
    return resource.rpartition(":")[2] or "access" if ":" in resource else "access"


def named_target(policies: Document, asked: Document) -> Target:
    """Return the target of a check that names its resource instead of a path."""
    name = asked["resource"]
    service = next((r["serviceName"] for r in policies.get("resources", []) if r["name"] == name), None)
    properties, context = (asked.get(member) or {} for member in ("action_properties", "context"))
    parameters = asked.get("parameters") or {}
    return Target(name, asked["action"], service, parameters, "required", properties, context)


def resolve(policies: Document, request: Document, settings: Document) -> Target | None:
    resources = policies.get("resources", [])
    context = request["context"]
    if "resource" in context or "action" in context:
        name, action = context.get("resource"), context.get("action")
        own = [resource for resource in resources if resource["name"] == name]
        if not own or action is None:
            return None
        found = best_route(own, request)
        if found is None:
            return Target(name, action, own[0]["serviceName"], {}, authentication="required")
        if found is UNCOVERED:
            return Target(name, action, own[0]["serviceName"], {}, authentication="required")
        return found if found is AMBIGUOUS else found._replace(action=action)
    found = best_route(resources, request)
    if found is None and settings["unmapped"] == "path":
        return named_target(policies, {"resource": request["path"], "action": request["method"].lower()})
    return found


def preflight_target(
    policies: Document, request: Document, asked: Document, settings: Document
) -> Target | None:
    """Return where the method that a CORS preflight asks about leads, None for another request."""
    if settings["cors_preflight"] != "policy" or asked.get("method") != "OPTIONS":
        return None
    headers: dict[str, list[str]] = {}
    for name, value in (asked.get("headers") or {}).items():
        listed = value if isinstance(value, list) else [value]
        headers.setdefault(name.lower(), []).extend(sent(one).decode("latin-1") for one in listed)
    origin, method = headers.get("origin", []), headers.get("access-control-request-method", [])
    credentials = {"authorization", "proxy-authorization", "cookie", "x-service-api-key"}
    if credentials & set(headers) or "transfer-encoding" in headers:
        return None
    if headers.get("content-length", ["0"]) != ["0"] or len(origin) != 1 or len(method) != 1:
        return None
    if origin != ["null"] and not is_origin(origin[0]):
        return None
    context = request["context"]
    if "resource" in context or "action" in context:
        return None
    resources = policies.get("resources", [])
    if best_route(resources, {**request, "method": "OPTIONS"}) is not None:
        return None
    found = best_route(resources, {**request, "method": "GET" if method == ["HEAD"] else method[0]})
    return None if found is AMBIGUOUS else found


def is_origin(text: str) -> bool:
    scheme, separator, rest = text.partition("://")
    host, _, port = rest.rpartition(":") if not rest.endswith("]") and ":" in rest else (rest, "", "1")
    bracketed = host.startswith("[") and host.endswith("]") and set(host[1:-1]) <= set("0123456789abcdef:.")
    named = bool(host) and all(char.isalnum() or char in "._~-" for char in host)
    return (
        bool(separator)
        and text.isascii()
        and scheme.replace("+", "").replace("-", "").replace(".", "").isalnum()
        and scheme[0].isalpha()
        and (bracketed or named)
        and port.isdigit()
        and len(port) <= 5
    )


def best_route(resources: Iterable[Document], request: Document) -> Target | None:
    """Return where the best template leads; None when none matches or it lacks the method."""
    segments = request["path"].split("/")[1:]
    candidates = []
    for resource in resources:
        for route in resource.get("routes", []):
            tier = host_tier(route.get("host"), request["host"])
            shape = template_fits(route["path"], segments)
            if tier is not None and shape is not None:
                candidates.append(((tier, shape), resource, route))
    if not candidates:
        return None
    best = min(rank for rank, _, _ in candidates)
    if RESPELT in best[1]:
        return AMBIGUOUS
    template = [(resource, route) for rank, resource, route in candidates if rank == best]
    parameters: dict[str, str] = {}
    if request["method"] == "POST" and any("mcp" in route for _, route in template):
        found = message(request["body"], request["headers"])
        ranked = [
            (rank, resource, route)
            for resource, route in template
            if "mcp" in route and found is not None and (rank := covers(route["mcp"], found)) is not None
        ]
        if not ranked:
            return UNCOVERED
        (level, parameters), resource, route = min(ranked, key=lambda each: each[0][0])
        # Not by name, and another route has what a reader could take it for.
        if level > 1 and any(
            "mcp" in other and other is not route and found is not None and others(other["mcp"], found)
            for _, other in template
        ):
            return UNCOVERED
        template = [(resource, route)]
    explicit = [pair for pair in template if request["method"] in pair[1]["methods"]]
    for resource, route in explicit or [pair for pair in template if pair[1]["methods"] == ["*"]]:
        parts = route["path"].split("/")[1:]
        return Target(
            resource["name"],
            route.get("action") or default_action(resource["name"]),
            resource["serviceName"],
            {
                part[1:-1]: unquote(segment)
                for part, segment in zip(parts, segments, strict=False)
                if part.startswith("{")
            }
            | parameters,
            route.get("authentication", "required"),
        )
    return None


def host_tier(pattern: str | None, host: str) -> tuple[int, int] | None:
    """Rank a route's host, lower is better: exact, the longest suffix, none."""
    if pattern is None:
        return 2, 0
    if pattern.startswith("*."):
        return (1, -len(pattern)) if host.endswith(pattern[1:]) and host != pattern[1:] else None
    return (0, 0) if pattern == host else None


LITERAL, RESPELT, PARAMETER, REST = range(4)


def template_fits(template: str, segments: list[str]) -> tuple[int, ...] | None:
    """Rank each segment, lower is better: literal, same text spelt otherwise, parameter, the final `/**`."""
    parts = template.split("/")[1:]
    rest = parts[-1] == "**"
    fixed = parts[:-1] if rest else parts
    if len(segments) < len(fixed) or (len(segments) > len(fixed) and not rest):
        return None
    ranks = []
    for part, segment in zip(fixed, segments, strict=False):
        parameter = part.startswith("{")
        if not segment if parameter else unquote(part) != unquote(segment):
            return None
        ranks.append(PARAMETER if parameter else LITERAL if part == segment else RESPELT)
    return (*ranks, REST) if rest else tuple(ranks)
