"""Requests of the wrong caller: every route by every kind of caller, and every wrong form of a credential."""

from collections.abc import Iterator

from tests.integration.recorded.documents import BINDING, POLICY, RESOURCE, ROUTE, RULE, Document
from tests.integration.recorded.sent import (
    ACCESS,
    AUDIT,
    BINDINGS,
    CASBIN,
    CHECK,
    KEYS,
    NO_ID,
    POLICIES,
    RESOURCES,
    RULES,
    SESSION,
    TENANTS,
    Sent,
    sent,
)

ROUTES: tuple[tuple[str, str], ...] = (
    ("GET", "/healthz/live"), ("GET", "/healthz/ready"), ("GET", "/metrics"), ("GET", "/openapi.json"),
    ("GET", "/docs"), ("POST", CHECK), ("POST", ACCESS), ("POST", "/resources/access/check"),
    ("POST", RESOURCES), ("POST", f"{RESOURCES}/list"), ("POST", "/resources/list"), ("GET", RESOURCES),
    ("GET", f"{RESOURCES}/{NO_ID}"), ("PATCH", f"{RESOURCES}/{NO_ID}"), ("DELETE", f"{RESOURCES}/{NO_ID}"),
    ("GET", f"{RESOURCES}/{NO_ID}/policies"), ("GET", RULES), ("POST", RULES), ("PUT", RULES),
    ("DELETE", RULES), ("GET", f"{RULES}/{NO_ID}"), ("PUT", f"{RULES}/{NO_ID}"), ("DELETE", f"{RULES}/{NO_ID}"),
    ("GET", BINDINGS), ("POST", BINDINGS), ("GET", f"{BINDINGS}/{NO_ID}"), ("DELETE", f"{BINDINGS}/{NO_ID}"),
    ("GET", POLICIES), ("POST", POLICIES), ("GET", f"{POLICIES}/{NO_ID}"), ("PUT", f"{POLICIES}/{NO_ID}"),
    ("PATCH", f"{POLICIES}/{NO_ID}"), ("DELETE", f"{POLICIES}/{NO_ID}"), ("POST", f"{POLICIES}/{NO_ID}/restore"),
    ("GET", f"{POLICIES}/{NO_ID}/versions"), ("GET", KEYS), ("POST", KEYS), ("DELETE", f"{KEYS}/{NO_ID}"),
    ("GET", AUDIT), ("GET", CASBIN), ("POST", CASBIN), ("POST", SESSION), ("DELETE", SESSION),
    ("GET", TENANTS), ("POST", TENANTS), ("GET", f"{TENANTS}/nowhere"), ("PATCH", f"{TENANTS}/nowhere"),
    ("DELETE", f"{TENANTS}/nowhere"), ("PUT", f"{TENANTS}/nowhere/hosts"),
    ("POST", f"{TENANTS}/nowhere/bootstrap-key"), ("DELETE", f"{TENANTS}/nowhere/bootstrap-key"),
    ("GET", f"{TENANTS}/nowhere/identity-providers"), ("POST", f"{TENANTS}/nowhere/identity-providers"),
    ("PUT", f"{TENANTS}/nowhere/identity-providers/{NO_ID}"),
    ("DELETE", f"{TENANTS}/nowhere/identity-providers/{NO_ID}"),
)  # fmt: skip
CALLERS = (
    "none", "wrong admin key", "alice", "emea", "tenant", "check", "resources:write", "policies:read",
    "policies:write", "operator", "session", "paused tenant",
)  # fmt: skip
_OPEN = ROUTES[:5]
CREDENTIALS = (
    "none", "empty authorization", "bearer alone", "bearer and spaces", "basic", "digest", "no scheme",
    "bearer word", "bearer two words", "bearer three dots", "bearer with padding", "bearer lower case",
    "bearer upper case", "bearer tab", "bearer comma", "expired token", "future token", "token without expiry",
    "token of another audience", "token of another issuer", "token without key id",
    "token of a foreign key", "token with a flipped signature", "token without signature", "token of none",
    "token of HS256", "token with crit", "token with duplicate claims", "token with text expiry",
    "token with list subject", "token without subject", "token with empty subject", "token with NUL subject",
    "token with admin text", "token with admin number", "token with admin object", "token with admin null",
    "token with roles number", "token with domain list", "token of 20000 octets", "token twice",
    "token and admin key", "token and service key", "admin key and service key", "wrong admin key",
    "empty admin key", "admin key with a space", "admin key as bearer", "admin key twice", "admin key not ASCII",
    "admin key as service key", "wrong service key", "empty service key", "service key as bearer",
    "service key twice", "service key upper case", "service key cut", "service key with another secret",
    "revoked service key", "expired service key", "session", "session cut", "session with another expiry",
    "session with another signature", "session as admin key", "ended session", "paused tenant", "paused key",
    "globex admin", "globex key", "proxy identity headers", "cookie",
)  # fmt: skip
_FOREIGN: tuple[tuple[str, str, object], ...] = (
    ("GET", f"{RULES}/@@globex rule@@", None), ("PUT", f"{RULES}/@@globex rule@@", RULE),
    ("DELETE", f"{RULES}/@@globex rule@@", None), ("GET", f"{RESOURCES}/@@globex resource@@", None),
    ("PATCH", f"{RESOURCES}/@@globex resource@@", {}), ("DELETE", f"{RESOURCES}/@@globex resource@@", None),
    ("GET", f"{RESOURCES}/@@globex resource@@/policies", None), ("GET", f"{BINDINGS}/@@globex binding@@", None),
    ("DELETE", f"{BINDINGS}/@@globex binding@@", None), ("GET", f"{POLICIES}/@@globex policy@@", None),
    ("PUT", f"{POLICIES}/@@globex policy@@", POLICY), ("PATCH", f"{POLICIES}/@@globex policy@@", {}),
    ("DELETE", f"{POLICIES}/@@globex policy@@", None), ("POST", f"{POLICIES}/@@globex policy@@/restore", None),
    ("GET", f"{POLICIES}/@@globex policy@@/versions", None), ("DELETE", f"{KEYS}/@@globex key@@", None),
)  # fmt: skip
_DOMAINS: tuple[tuple[str, str, Document | None], ...] = (
    ("GET", f"{RULES}/@@rule@@", None), ("GET", f"{RULES}/@@rule in apac@@", None),
    ("GET", f"{RULES}/@@rule everywhere@@", None), ("PUT", f"{RULES}/@@rule in apac@@", RULE | {"dom": "apac"}),
    ("PUT", f"{RULES}/@@rule in apac@@", RULE), ("PUT", f"{RULES}/@@rule@@", RULE | {"dom": "apac"}),
    ("PUT", f"{RULES}/@@rule@@", RULE | {"dom": "*"}), ("DELETE", f"{RULES}/@@rule in apac@@", None),
    ("DELETE", f"{RULES}/@@rule everywhere@@", None), ("POST", RULES, RULE | {"sub": "d", "dom": "apac"}),
    ("POST", RULES, RULE | {"sub": "d", "dom": "*"}), ("POST", RULES, RULE | {"sub": "*", "dom": "*"}),
    ("POST", BINDINGS, BINDING | {"dom": "apac"}), ("POST", BINDINGS, BINDING | {"dom": "*"}),
    ("POST", BINDINGS, BINDING | {"user": "r", "user_kind": "role"}), ("GET", f"{BINDINGS}/@@binding@@", None),
    ("GET", f"{POLICIES}/@@policy@@", None), ("GET", f"{POLICIES}/@@policy in apac@@", None),
    ("PATCH", f"{POLICIES}/@@policy in apac@@", {"priority": -1}),
    ("DELETE", f"{POLICIES}/@@policy in apac@@", None), ("POST", f"{POLICIES}/@@deleted policy@@/restore", None),
    ("DELETE", f"{POLICIES}/@@guardrail@@", None), ("PATCH", f"{POLICIES}/@@guardrail@@", {"enabled": False}),
    ("GET", f"{POLICIES}/@@deleted policy@@?deleted=true", None), ("DELETE", f"{RULES}?sub=s&dom=apac&obj=o", None),
    ("GET", f"{RULES}?dom=apac", None), ("GET", f"{POLICIES}/@@policy in apac@@/versions", None),
)  # fmt: skip
_REGISTRATIONS: tuple[tuple[str, Document], ...] = (
    ("its own", {}), ("another service", {"serviceName": "other"}),
    ("outside its prefixes", {"routes": [ROUTE | {"path": "/elsewhere"}]}),
    ("another host", {"routes": [ROUTE | {"host": "other.example.com"}]}), ("every host", {"routes": [{**ROUTE, "host": None}]}),
    ("next to its prefix", {"routes": [ROUTE | {"path": "/invoices-old"}]}),
    ("optional authentication", {"routes": [ROUTE | {"authentication": "optional"}]}),
    ("default roles", {"defaultRoles": ["root"]}), ("a stored name of another service", {"name": "other:read"}),
    ("problems too", {"serviceName": "other", "routes": [{}], "extra": 1}),
)  # fmt: skip


def callers() -> Iterator[Sent]:
    """Yield all of them."""
    for method, path in ROUTES:
        for caller in CALLERS if (method, path) not in _OPEN else ("none", "wrong admin key", "session"):
            if method == "DELETE" and path == SESSION and caller in {"operator", "session"}:
                continue
            body: object = None if method in {"GET", "DELETE"} else "" if path == CASBIN else {}
            yield sent(f"by {caller}", method, path, body, caller=caller)
    for credential in CREDENTIALS:
        yield sent(f"credential: {credential}", "GET", f"{RULES}?limit=1", caller=credential)
        # A credential is judged before the query and the body are read.
        yield sent(f"credential first: {credential}", "POST", f"{RULES}?x=1", b"{", caller=credential)
    for method, path, body in _FOREIGN:
        for caller in ("tenant", "bootstrap", "emea"):
            yield sent(f"of another tenant, by {caller}", method, path, body, caller=caller)
    for method, path, document in _DOMAINS:
        for caller in ("emea", "both", "policies:write", "emea key"):
            shown = "" if document is None else f" {sorted(map(str, document.items()))}"[:160]
            yield sent(f"by {caller}{shown}", method, path, document, caller=caller)
    for name, changes in _REGISTRATIONS:
        for number, path in enumerate((RESOURCES, f"{RESOURCES}/list")):
            resource = RESOURCE | {"name": f"registered {number}"} | changes
            sent_body = [resource] if number else resource
            yield sent(f"registers {name}", "POST", path, sent_body, caller="resources:write")
    for method, path in (("PATCH", f"{RESOURCES}/@@other resource@@"), ("DELETE", f"{RESOURCES}/@@other resource@@"),
                         ("GET", f"{RESOURCES}/@@other resource@@")):  # fmt: skip
        yield sent(
            "of another service", method, path, {} if method == "PATCH" else None, caller="resources:write"
        )
    for scopes in (
        ["check"],
        ["keys:write"],
        ["policies:write"],
        ["audit:read"],
        ["identity"],
        ["resources:write"],
    ):
        key = {"name": "child", "scopes": scopes, "service_name": "billing", "prefixes": ["/invoices"]}
        for caller in ("keys:write", "emea key", "bootstrap"):
            yield sent(f"{caller} makes {scopes[0]}", "POST", KEYS, key, caller=caller)
    for name in ("key", "bootstrap key"):
        yield sent(f"of {name}, by keys:write", "DELETE", f"{KEYS}/@@{name}@@", caller="keys:write")
    yield sent("of the bootstrap key", "DELETE", f"{KEYS}/@@bootstrap key@@")
    yield from _slowed()


def _slowed() -> Iterator[Sent]:
    """Yield 61 invalid credentials of one address, another, and other requests of that address."""
    address = "127.200.0.1"

    def of(name: str, caller: str, times: int = 1) -> Sent:
        return Sent(f"slowed: {name}", "GET", RULES, caller=caller, address=address, times=times)

    yield of("60 bad credentials", "wrong admin key", 60)
    yield of("one more", "wrong admin key")
    yield of("another bad one", "bearer word")
    yield of("no credential", "none")
    yield of("two credentials", "token and admin key")
    yield of("a valid one", "tenant")
