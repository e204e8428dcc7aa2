"""Requests whose line or headers are wrong: methods, paths, ids, query parameters, preconditions; and valid ones."""

from collections.abc import Iterator
from urllib.parse import quote

from tests.integration.recorded.callers import ROUTES
from tests.integration.recorded.documents import BINDING, KEY, POLICY, PROVIDER, QUESTION, RESOURCE, RULE
from tests.integration.recorded.sent import (
    ACCESS,
    AUDIT,
    BINDINGS,
    CASBIN,
    CHECK,
    KEYS,
    NO_ID,
    POLICIES,
    PROVIDERS,
    RESOURCES,
    RULES,
    SESSION,
    TENANTS,
    Sent,
    sent,
    without,
)
from tests.integration.recorded.values import FEW_IDS, IDS, IF_MATCH, NAMES, TIMES

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "FOO")
_ODD_METHODS = ("TRACE", "get", "GETX", "CONNECT")
_IN_PATHS: tuple[tuple[str, str, object], ...] = (
    ("GET", f"{RESOURCES}/%s", None), ("PATCH", f"{RESOURCES}/%s", {}), ("DELETE", f"{RESOURCES}/%s", None),
    ("GET", f"{RESOURCES}/%s/policies", None), ("GET", f"{RULES}/%s", None), ("PUT", f"{RULES}/%s", RULE),
    ("DELETE", f"{RULES}/%s", None), ("GET", f"{BINDINGS}/%s", None), ("DELETE", f"{BINDINGS}/%s", None),
    ("GET", f"{POLICIES}/%s", None), ("PUT", f"{POLICIES}/%s", POLICY), ("PATCH", f"{POLICIES}/%s", {}),
    ("DELETE", f"{POLICIES}/%s", None), ("POST", f"{POLICIES}/%s/restore", None),
    ("GET", f"{POLICIES}/%s/versions", None), ("DELETE", f"{KEYS}/%s", None), ("GET", f"{TENANTS}/%s", None),
    ("PATCH", f"{TENANTS}/%s", {}), ("DELETE", f"{TENANTS}/%s", None), ("PUT", f"{TENANTS}/%s/hosts", []),
    ("POST", f"{TENANTS}/%s/bootstrap-key", None), ("GET", f"{TENANTS}/%s/identity-providers", None),
    ("POST", f"{TENANTS}/%s/identity-providers", PROVIDER), ("PUT", f"{PROVIDERS}/%s", PROVIDER),
    ("DELETE", f"{PROVIDERS}/%s", None),
)  # fmt: skip
_EVERY_ID = {
    ("GET", f"{RULES}/%s"),
    ("PUT", f"{RULES}/%s"),
    ("GET", f"{TENANTS}/%s"),
    ("DELETE", f"{PROVIDERS}/%s"),
}
_PATHS = (
    "/", "//", "/api", "/api/", "/api/v1", "/api/v1/", "/api/v2/resources", "/API/V1/resources", "/admin", "/admin/",
    f"{RULES}/", f"/{RULES}", "/api//v1/resources", f"{RESOURCES}/", f"{CHECK}/", f"{TENANTS}/", f"{SESSION}/",
    "/api/v1/resources%2Fpolicies", "/api/v1/./resources", "/api/v1/x/../resources", "/api/v1/%72esources",
    "/api/v1/resources;x=1", "/api/v1/resources%00", "/api/v1/resources%20", "/docs/", "/docs/x", "/redoc",
    "/openapi.yaml", "/openapi.json/", "/healthz", "/healthz/live/", "/metrics/", "/favicon.ico", "/static/x",
    "/api/v1/resources/list", "/api/v1/resources/access", "/resources", "/resources/policies", "/check",
    "/api/v1/abac", "/api/v1/casbin", "/api/v1/role-bindings/x/y", "/admin/tenants/acme/x", "/.env", "/a" * 4000,
    "/%ff", "/é",
)  # fmt: skip
_LISTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (RULES, ("obj", "sub", "dom")), (RESOURCES, ("name", "serviceName")), (BINDINGS, ("user", "role", "dom")),
    (POLICIES, ("resource",)), (f"{POLICIES}/@@policy@@/versions", ()), (f"{RESOURCES}/@@resource@@/policies", ()),
    (KEYS, ()), (AUDIT, ("entity_id", "kind", "actor")), (TENANTS, ()), (PROVIDERS, ()),
)  # fmt: skip
_LIMITS = (
    "0",
    "1",
    "1000",
    "1001",
    "-1",
    "+1",
    "1.0",
    "1e2",
    "",
    " 1",
    "x",
    "٣",
    "00001",
    "99999999999999999999",
    "1,2",
)
_CURSORS = (
    "",
    "x",
    "====",
    "AAAA",
    "A" * 32,
    "A" * 5000,
    "%00",
    "null",
    "-1",
    "%E6%BC%A2",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
)
_QUERIES = (
    "x=1", "x=1&y=2", "limit=1&limit=1", "limit=1&limit=2", "Limit=1", "limit", "limit=1&", "&&", "?", "=", "=1",
    "limit=1;cursor=x", "limit%3D1", "%6cimit=1", "limit[]=1", "limit=%FF", "%FF=1", "limit=%ED%A0%80", "limit=%",
    "x=%00", "a" * 200 + "=1", "&".join(f"a{number}=1" for number in range(21)), "limit=0&cursor=x&x=1&x=2",
    "limit=1#x", "é=1", "limit=1&cursor=", "_method=DELETE", "access_token=x",
)  # fmt: skip
_FLAGS = ("true", "false", "True", "1", "yes", "", " true", "true,false", "null")
_CONDITIONAL: tuple[tuple[str, str, object], ...] = (
    ("POST", RULES, RULE | {"sub": "if"}), ("PUT", RULES, RULE | {"sub": "staged", "obj": "staged:read"}),
    ("DELETE", f"{RULES}?sub=nothing&dom=emea&obj=o", None), ("PUT", f"{RULES}/@@rule for put@@", RULE | {"sub": "put"}),
    ("DELETE", f"{RULES}/@@new rule@@", None), ("POST", RESOURCES, without(RESOURCE, "routes") | {"name": "if"}),
    ("POST", f"{RESOURCES}/list", [without(RESOURCE, "routes") | {"name": "if list"}]),
    ("PATCH", f"{RESOURCES}/@@resource for patch@@", {"displayName": "if"}),
    ("DELETE", f"{RESOURCES}/@@new resource@@", None), ("POST", BINDINGS, BINDING | {"user": "if"}),
    ("DELETE", f"{BINDINGS}/@@new binding@@", None), ("POST", POLICIES, POLICY | {"name": "if"}),
    ("PUT", f"{POLICIES}/@@policy for put@@", POLICY | {"name": "if"}),
    ("PATCH", f"{POLICIES}/@@policy for patch@@", {"priority": -2}), ("DELETE", f"{POLICIES}/@@new policy@@", None),
    ("POST", f"{POLICIES}/@@deleted policy@@/restore", None), ("POST", KEYS, KEY), ("DELETE", f"{KEYS}/@@new key@@", None),
    ("POST", CASBIN, "p,role:if,*,o,a,allow"), ("POST", TENANTS, {"name": "x", "slug": "if"}),
    ("PATCH", f"{TENANTS}/spare", {"name": "if"}), ("DELETE", f"{TENANTS}/nowhere", None),
    ("PUT", f"{TENANTS}/spare/hosts", {"hosts": ["if.example"]}), ("POST", f"{TENANTS}/spare/bootstrap-key", None),
    ("DELETE", f"{TENANTS}/nowhere/bootstrap-key", None), ("POST", PROVIDERS, PROVIDER | {"issuer_url": "https://if.example"}),
    ("PUT", f"{PROVIDERS}/@@provider for put@@", PROVIDER), ("DELETE", f"{PROVIDERS}/{NO_ID}", None),
)  # fmt: skip
_SOME_TAGS = ("number", "empty", "another revision", "weak", "asterisk")
_READ: tuple[tuple[str, str], ...] = (
    ("GET", RULES), ("GET", f"{RULES}/@@rule@@"), ("GET", f"{RESOURCES}/@@resource@@"), ("GET", CASBIN),
    ("GET", f"{POLICIES}/@@policy@@"), ("GET", f"{TENANTS}/spare"),
)  # fmt: skip
_VALUE = "sub=staged&dom=emea&obj=staged:read"


def paths() -> Iterator[Sent]:
    """Yield all of them."""
    yield from _methods()
    for path in _PATHS:
        for method, caller in (("GET", "tenant"), ("GET", "none"), ("POST", "tenant")):
            yield sent(f"path, by {caller}", method, path, caller=caller)
    for method, shape, body in _IN_PATHS:
        for name in IDS if (method, shape) in _EVERY_ID else FEW_IDS:
            value = IDS[name]
            yield sent(f"id is {name}", method, shape % value, body)
        if shape.startswith("/admin"):
            yield sent("id is a session word", method, shape % "session", body)
    for word in ("policies", "list", "access"):
        for method in _METHODS:
            yield sent(
                f"word as an id: {method}", method, f"{RESOURCES}/{word}", {} if method == "PATCH" else None
            )
    yield from _queries()
    yield from _preconditions()
    yield from _valid()


def _methods() -> Iterator[Sent]:
    served: dict[str, set[str]] = {}
    for method, path in ROUTES:
        served.setdefault(path, set()).add(method)
    for path, methods in served.items():
        for method in _METHODS:
            if method not in methods:
                yield sent("method", method, path)
        yield sent("method, by none", "FOO", path, caller="none")
    for method in _ODD_METHODS:
        yield sent("method", method, RULES)


def _queries() -> Iterator[Sent]:
    for number, (path, filters) in enumerate(_LISTS):
        for value in _LIMITS if number < 2 else _LIMITS[:5]:
            yield sent("limit", "GET", f"{path}?limit={quote(value)}")
        for value in _CURSORS if number < 2 else _CURSORS[:4]:
            yield sent("cursor", "GET", f"{path}?cursor={value}")
        for value in _QUERIES if number < 2 else _QUERIES[:6]:
            yield sent("query", "GET", f"{path}?{value}")
        for name in filters:
            for value in ("", "x", "*", "%00", "e%CC%81", "%20x", "x" * 257, "%FF", "a%E2%80%8Bb", "a%0Ab"):
                yield sent("filter", "GET", f"{path}?{name}={value}")
            yield sent("filter twice", "GET", f"{path}?{name}=a&{name}=b")
    for value in _FLAGS:
        yield sent("flag", "GET", f"{POLICIES}?deleted={quote(value)}&limit=1")
        yield sent("flag", "GET", f"{POLICIES}/@@policy@@?deleted={quote(value)}")
        yield sent("flag", "DELETE", f"{RESOURCES}/{NO_ID}?cascade={quote(value)}")
    for name, moment in TIMES.items():
        yield sent(f"since is {name}", "GET", f"{AUDIT}?limit=1&since={quote(str(moment))}")
    yield sent(
        "since after until", "GET", f"{AUDIT}?limit=1&since=2099-01-01T00:00:00Z&until=2001-01-01T00:00:00Z"
    )
    yield sent("plus in a time", "GET", f"{AUDIT}?limit=1&since=2001-01-01T00:00:00+02:00")
    yield sent("every filter wrong", "GET", f"{AUDIT}?since=x&until=y&limit=z&cursor=w&kind=%00")
    for name, value in NAMES.items():
        yield sent(f"filter is {name}", "GET", f"{RULES}?limit=1&sub={quote(value)}&dom={quote(value)}")
    for value in (
        "", "sub=x", "sub=x&dom=y", "sub=x&dom=y&obj=z", "sub=x&dom=y&obj=z&x=1", "sub=x&sub=x&dom=y&obj=z",
        "sub=&dom=&obj=", "sub=x&dom=y&obj=z&sub_kind=group", "sub=x&dom=y&obj=z&effect=permit&sub_kind=",
        "sub=x&dom=y&obj=z&act=", "sub=%00&dom=%20&obj=z", "SUB=x&dom=y&obj=z", f"{_VALUE}&effect=deny",
        f"{_VALUE}&sub_kind=user", f"{_VALUE}&act=write",
    ):  # fmt: skip
        yield sent("by value", "DELETE", f"{RULES}?{value}")
        yield sent("by value and body", "DELETE", f"{RULES}?{value}", {"sub": "x", "dom": "y", "obj": "z"})
    for method, path, body in _CONDITIONAL:
        if "?" not in path:
            yield sent("query where none is read", method, f"{path}?x=1&x=2", body)
    for path in (CHECK, ACCESS, SESSION, f"{POLICIES}/@@policy@@/restore"):
        yield sent("query where none is read", "POST", f"{path}?dry_run=true")


def _preconditions() -> Iterator[Sent]:
    for number, (method, path, body) in enumerate(_CONDITIONAL):
        for name, tag in IF_MATCH.items():
            if number < 4 or name in _SOME_TAGS:
                yield sent(f"If-Match {name}", method, path, body, headers=[("If-Match", tag)])
        yield sent("If-Match and a wrong body", method, path, b"{", headers=[("If-Match", "7")])
        yield sent(
            "If-Match of another, and a wrong body", method, path, b"{", headers=[("If-Match", '"999999"')]
        )
        if method != "DELETE" and isinstance(body, dict):
            worse = dict.fromkeys(body, None) | {"extra": 1}
            yield sent(
                "If-Match of another, and problems", method, path, worse, headers=[("If-Match", '"999999"')]
            )
    for name, headers in (
        ("twice", [("If-Match", '"999998"'), ("If-Match", '"999999"')]), ("twice, one wrong", [("If-Match", '"1"'), ("If-Match", "1")]),
        ("If-None-Match", [("If-None-Match", "*")]), ("If-None-Match tag", [("If-None-Match", '"1"')]),
        ("both", [("If-Match", '"999999"'), ("If-None-Match", "*")]), ("If-Unmodified-Since", [("If-Unmodified-Since", "x")]),
        ("100 tags", [("If-Match", ", ".join(f'"{number}"' for number in range(900000, 900100)))]),
    ):  # fmt: skip
        yield sent(
            f"precondition {name}", "PUT", f"{RULES}/@@rule for put@@", RULE | {"sub": "put"}, headers=headers
        )
    for method, path in _READ:
        for header in ("If-Match", "If-None-Match"):
            for tag in ("*", '"999999"', "7", 'W/"1"'):
                yield sent(f"{header}: {tag}", method, path, headers=[(header, tag)])
        yield sent("Range", method, path, headers=[("Range", "bytes=0-1")])
        for accept in ("text/html", "application/xml", "*/*;q=0", "é"):
            yield sent(f"Accept {accept}", method, path, headers=[("Accept", accept)])


def _valid() -> Iterator[Sent]:
    rule = f"{RULES}/@@new rule@@"
    tag = [("If-Match", "@@etag rule@@")]
    yield sent("valid", "POST", RULES, RULE | {"sub": "valid"})
    yield sent("valid, again", "POST", RULES, RULE | {"sub": "valid"})
    yield sent("valid", "GET", rule)
    yield sent("valid, with its tag", "PUT", rule, RULE | {"sub": "valid 2"}, headers=tag)
    yield sent("valid, what was read", "PUT", rule, RULE | {"id": "@@rule@@", "sub": "valid 3"})
    yield sent("valid, with its tag", "DELETE", rule, headers=tag)
    yield sent("valid, with its tag in a list", "DELETE", rule, headers=[("If-Match", '"0", @@etag rule@@')])
    yield sent("valid, with its weak tag", "DELETE", rule, headers=[("If-Match", "W/@@etag rule@@")])
    yield sent(
        "valid",
        "POST",
        RESOURCES,
        RESOURCE | {"name": "valid:read", "routes": [{"methods": ["GET"], "path": "/v"}]},
    )
    yield sent(
        "valid, again",
        "POST",
        RESOURCES,
        RESOURCE | {"name": "valid:read", "routes": [{"methods": ["GET"], "path": "/v"}]},
    )
    yield sent("valid", "POST", f"{RESOURCES}/list", [without(RESOURCE, "routes") | {"name": "valid:list"}])
    yield sent("valid", "GET", f"{RESOURCES}/@@new resource@@")
    yield sent("valid", "PATCH", f"{RESOURCES}/@@new resource@@", {"displayName": "x", "routes": []})
    yield sent("valid", "DELETE", f"{RESOURCES}/@@new resource@@")
    yield sent("rules name it", "DELETE", f"{RESOURCES}/@@resource@@")
    yield sent("valid, with its rules", "DELETE", f"{RESOURCES}/@@new resource@@?cascade=true")
    yield sent("valid", "GET", f"{RESOURCES}/@@resource@@/policies?limit=1")
    yield sent("valid", "POST", BINDINGS, BINDING | {"user": "valid"})
    yield sent("valid, again", "POST", BINDINGS, BINDING | {"user": "valid"})
    yield sent("valid", "GET", f"{BINDINGS}/@@new binding@@")
    yield sent("valid", "DELETE", f"{BINDINGS}/@@new binding@@")
    yield sent("valid", "POST", POLICIES, POLICY | {"name": "valid"})
    yield sent("valid", "GET", f"{POLICIES}/@@new policy@@")
    yield sent("valid", "PUT", f"{POLICIES}/@@new policy@@", POLICY | {"name": "valid 2"})
    yield sent("valid", "PATCH", f"{POLICIES}/@@new policy@@", {"enabled": False, "priority": None})
    yield sent("valid", "DELETE", f"{POLICIES}/@@new policy@@")
    yield sent("not deleted", "POST", f"{POLICIES}/@@new policy@@/restore")
    yield sent("of a deleted one", "GET", f"{POLICIES}/@@deleted policy@@")
    yield sent("of a deleted one", "PATCH", f"{POLICIES}/@@deleted policy@@", {"priority": 0})
    yield sent("of a deleted one", "DELETE", f"{POLICIES}/@@deleted policy@@")
    yield sent("valid", "GET", f"{POLICIES}/@@deleted policy@@?deleted=true")
    yield sent("valid", "GET", f"{POLICIES}/@@deleted policy@@/versions")
    yield sent(
        "valid, another shape",
        "POST",
        POLICIES,
        {k: POLICY[k] for k in ("name", "resource", "effect", "rule_data")},
    )
    yield sent("valid", "POST", KEYS, KEY)
    yield sent("valid", "DELETE", f"{KEYS}/@@new key@@")
    yield sent("valid", "GET", f"{KEYS}?limit=1")
    yield sent("valid", "POST", CHECK, QUESTION)
    yield sent("valid", "POST", ACCESS, {"name": "staged:read"}, caller="alice")
    yield sent("valid", "GET", CASBIN, caller="globex admin")
    yield sent("valid", "GET", f"{AUDIT}?limit=1")
    yield sent("valid", "POST", SESSION, caller="operator")
    yield sent("valid", "DELETE", SESSION, caller="session")
    yield sent("valid, every session", "DELETE", SESSION, caller="operator")
    yield sent("valid", "POST", TENANTS, {"name": "Valid", "slug": "valid"})
    yield sent("valid, again", "POST", TENANTS, {"name": "Valid", "slug": "valid"})
    yield sent("valid", "GET", f"{TENANTS}/valid")
    yield sent("valid", "PATCH", f"{TENANTS}/valid", {"status": "suspended"})
    yield sent("valid", "PUT", f"{TENANTS}/valid/hosts", {"hosts": ["valid.example"]})
    yield sent("valid", "POST", f"{TENANTS}/valid/bootstrap-key")
    yield sent("valid", "DELETE", f"{TENANTS}/valid/bootstrap-key")
    yield sent(
        "valid",
        "POST",
        f"{TENANTS}/valid/identity-providers",
        PROVIDER | {"issuer_url": "https://valid.example"},
    )
    yield sent(
        "the issuer of another tenant", "POST", PROVIDERS, PROVIDER | {"issuer_url": "https://valid.example"}
    )
    yield sent(
        "valid", "PUT", f"{PROVIDERS}/@@provider for put@@", PROVIDER | {"issuer_url": "https://put.example"}
    )
    yield sent("valid", "DELETE", f"{TENANTS}/valid")
    yield sent("deleted", "GET", f"{TENANTS}/valid")
    yield sent("valid", "GET", f"{TENANTS}?limit=1")
