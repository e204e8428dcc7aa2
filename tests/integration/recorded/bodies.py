"""Requests whose body is wrong: not JSON, no document, one wrong member, several problems at once."""

import json
from collections.abc import Iterator

from tests.integration.recorded.documents import (
    BINDING,
    BULK,
    KEY,
    POLICY,
    QUESTION,
    READINGS,
    RESOURCE,
    ROUTE,
    RULE,
    Reading,
)
from tests.integration.recorded.sent import (
    BINDINGS,
    CASBIN,
    CHECK,
    JSON,
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
    with_raw,
    without,
)
from tests.integration.recorded.values import (
    FEW_NOT_JSON,
    FEW_VALUES,
    FEWEST_VALUES,
    JSON_VALUES,
    NAMES,
    NO_DOCUMENT,
    NOT_JSON,
    TIMES,
)

_MEDIA_TYPES = (
    "", "text/plain", "application/json; charset=utf-8", "application/json; charset=latin-1",
    "APPLICATION/JSON", "application/problem+json", "application/merge-patch+json", "text/csv",
    "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "application/json, text/csv",
    "application/jsonx", "é",
)  # fmt: skip
_WITHOUT_BODY = (
    ("DELETE", f"{RULES}/{NO_ID}"), ("DELETE", f"{RESOURCES}/{NO_ID}"), ("DELETE", f"{BINDINGS}/{NO_ID}"),
    ("DELETE", f"{POLICIES}/{NO_ID}"), ("POST", f"{POLICIES}/{NO_ID}/restore"), ("DELETE", f"{KEYS}/{NO_ID}"),
    ("DELETE", f"{TENANTS}/nowhere"), ("POST", f"{TENANTS}/nowhere/bootstrap-key"),
    ("DELETE", f"{TENANTS}/nowhere/bootstrap-key"), ("DELETE", f"{PROVIDERS}/{NO_ID}"), ("POST", SESSION),
    ("GET", RULES), ("GET", f"{RULES}/{NO_ID}"), ("GET", TENANTS),
)  # fmt: skip


def bodies() -> Iterator[Sent]:
    """Yield all of them."""
    for reading in READINGS:
        yield from _unread(reading)
        yield from _wrong_members(reading)
        yield from _several(reading)
    yield from _bulk()
    yield from _media_types()
    yield from _where_none_is_read()
    yield from _names()
    yield from _times()
    yield from _sizes()


def _ask(reading: Reading, name: str, body: object) -> Sent:
    return sent(name, reading.method, reading.path, body, caller=reading.caller)


def _unread(reading: Reading) -> Iterator[Sent]:
    for name in NOT_JSON if reading.texts else FEW_NOT_JSON:
        yield _ask(reading, f"not JSON: {name}", NOT_JSON[name])
    for name, octets in tuple(NO_DOCUMENT.items())[: 5 if reading.again else None]:
        yield _ask(reading, f"no document: {name}", octets)
    yield _ask(reading, "no body", None)
    yield _ask(reading, "empty body", b"")
    yield _ask(reading, "list of one document", [dict(reading.document)])
    text = json.dumps(reading.document)
    for member in reading.document if reading.texts else ():
        twice = f'{{"{member}": null, {text[1:]}'
        yield _ask(reading, f"duplicate member {member}", twice)


def _wrong_members(reading: Reading) -> Iterator[Sent]:
    for member in reading.document if reading.again else reading.members:
        values = FEWEST_VALUES if reading.again else FEW_VALUES if "/" in member else tuple(JSON_VALUES)
        for value in values:
            yield _ask(reading, f"{member} = {value}", with_raw(reading.document, member, JSON_VALUES[value]))
    for member in reading.document:
        yield _ask(reading, f"without {member}", without(reading.document, member))


def _several(reading: Reading) -> Iterator[Sent]:
    document = dict(reading.document)
    first = next(iter(document))
    unknown: tuple[tuple[str, dict[str, object]], ...] = (
        ("id given", {"id": NO_ID}), ("unknown member", {"extra": 1}), ("id wrong", {"id": 7}),
        ("two unknown members", {"extra": 1, "more": [{}]}), ("unknown and first null", {"extra": 1, first: None}),
        ("id null", {"id": None}), ("created_at given", {"created_at": "2026-01-31T08:00:00Z"}), ("createdAt given", {"createdAt": "x"}),
        ("updated_at given", {"updated_at": None}), ("warnings given", {"warnings": []}),
        ("version given", {"version": 1}), ("deleted_at given", {"deleted_at": None}),
        ("tenant given", {"tenant": "globex"}), ("tenant_id given", {"tenant_id": "globex"}),
        ("expected_revision given", {"expected_revision": 1}), ("empty member name", {"": 1}),
        ("member with pointer characters", {"a/b~c": 1}), ("member of another case", {first.upper(): "x"}),
        ("member with a space", {f"{first} ": "x"}), ("prototype", {"__proto__": {"x": 1}}),
        ("unknown and first list", {"x": 0, first: []}),
    )  # fmt: skip
    for name, extra in unknown[: 5 if reading.again else None]:
        yield _ask(reading, name, document | extra)
    for name, value in (
        ("null", None),
        ("7", 7),
        ("list", []),
        ("object", {}),
        ("NUL", "\0"),
        ("true", True),
    ):
        yield _ask(reading, f"every member {name}", dict.fromkeys(document, value))
    yield _ask(reading, "only unknown members", {f"extra{number}": number for number in range(5)})
    yield _ask(reading, "1200 unknown members", {f"extra{number}": number for number in range(1200)})


def _bulk() -> Iterator[Sent]:
    good = without(RESOURCE, "routes")
    entries: dict[str, object] = {
        "no list": dict(good),
        "list of null": [None],
        "list of lists": [[], [[]]],
        "list of text": ["x", 1, True],
        "second wrong": [good | {"name": "bulk-1"}, {}],
        "third without a name": [good, good | {"name": "bulk-2"}, without(good, "name")],
        "the same name twice": [good | {"name": "bulk-3"}, good | {"name": "bulk-3"}],
        "the same name, another service": [good | {"name": "b4"}, good | {"name": "b4", "serviceName": "x"}],
        "the same route twice": [
            good | {"name": "bulk-5", "routes": [ROUTE | {"path": "/bulk"}]},
            good | {"name": "bulk-6", "routes": [ROUTE | {"path": "/bulk"}]},
        ],
        "ids": [good | {"id": NO_ID}, good | {"id": 1, "extra": 2}],
        "route problems": [
            good | {"routes": [{}, ROUTE | {"path": "x"}, None]},
            good | {"routes": [ROUTE | {"methods": ["get", "HEAD", ""]}]},
        ],
        "200 wrong entries": [{"name": number} for number in range(200)],
        "object with a list": {"items": [good]},
        "empty list": [],
    }
    for path in BULK:
        for name, body in entries.items():
            yield sent(f"bulk: {name}", "POST", path, body)
        for name, octets in NOT_JSON.items():
            if path != BULK[1] or name in FEW_NOT_JSON:
                yield sent(f"bulk: not JSON: {name}", "POST", path, octets)
        yield sent("bulk: no body", "POST", path)
    deep = [good | {"routes": [ROUTE | {"path": "/" + "a/" * number}]} for number in range(3)]
    yield sent("bulk: empty segments", "POST", BULK[0], deep)


def _media_types() -> Iterator[Sent]:
    for method, path, body in (
        ("POST", RULES, json.dumps(RULE | {"sub": "media"})),
        ("PATCH", f"{POLICIES}/@@policy for patch@@", '{"priority": -3}'),
        ("DELETE", RULES, json.dumps(RULE | {"sub": "by value"})),
        ("POST", CHECK, json.dumps(QUESTION)),
        ("POST", CASBIN, "p,role:media,*,o,a,allow"),
    ):
        for number, media_type in enumerate(_MEDIA_TYPES):
            name = f"content type {number} {media_type[:40]!a}"
            yield sent(name, method, path, body, headers=[("Content-Type", media_type)])
        twice = [("Content-Type", JSON), ("Content-Type", "text/csv")]
        yield sent("content type twice", method, path, body, headers=twice)
        yield sent("content encoding", method, path, body, headers=[("Content-Encoding", "gzip")])


def _where_none_is_read() -> Iterator[Sent]:
    for method, path in _WITHOUT_BODY:
        for name, octets in (
            ("empty object", b"{}"), ("object", b'{"version": 1}'), ("not JSON", b"x"), ("blank", b" " * 2000),
        ):  # fmt: skip
            yield sent(f"unread body: {name}", method, path, octets)


def _names() -> Iterator[Sent]:
    for name, value in NAMES.items():
        yield sent(f"sub is {name}", "POST", RULES, RULE | {"sub": value})
        yield sent(f"name is {name}", "POST", RESOURCES, without(RESOURCE, "routes") | {"name": value})
        yield sent(f"slug is {name}", "POST", TENANTS, {"name": "x", "slug": value})
        yield sent(f"host is {name}", "PUT", f"{TENANTS}/spare/hosts", {"hosts": [value]})


def _times() -> Iterator[Sent]:
    for name, value in TIMES.items():
        yield sent(f"expires_at is {name}", "POST", BINDINGS, BINDING | {"user": "t", "expires_at": value})
        yield sent(f"expires_at is {name}", "POST", KEYS, KEY | {"expires_at": value})


def _sizes() -> Iterator[Sent]:
    wide = "漢" * 256
    yield sent(
        "names too long together", "POST", RULES, RULE | dict.fromkeys(("sub", "dom", "obj", "act"), wide)
    )
    yield sent(
        "names too long together", "POST", BINDINGS, BINDING | dict.fromkeys(("user", "role", "dom"), wide)
    )
    for path in (RULES, POLICIES, CASBIN, TENANTS, CHECK):
        limit = 2**23 if path == CASBIN else 2**20
        yield sent("body one octet too long", "POST", path, declared=limit + 1)
    yield sent("unread body too long", "DELETE", f"{RULES}/{NO_ID}", b" " * 1025)
    values = [f"{'x' * 1000}{number}" for number in range(300)]
    large = {"type": "CONDITION", "attribute": "user.a", "operator": "in", "value": values}
    yield sent("condition too large", "POST", POLICIES, POLICY | {"rule_data": large})
    yield sent(
        "20000 actions", "POST", POLICIES, POLICY | {"actions": [f"a{number}" for number in range(20_000)]}
    )
    yield sent("101 prefixes", "POST", KEYS, KEY | {"prefixes": [f"/p{number}" for number in range(101)]})
    yield sent("scopes twice", "POST", KEYS, KEY | {"scopes": ["check", "check", "resources:write"]})
    yield sent("unknown scopes", "POST", KEYS, KEY | {"scopes": ["admin", "Check", "check", 1, None]})
    yield sent("no service and prefixes", "POST", KEYS, without(without(KEY, "service_name"), "prefixes"))
    yield sent(
        "scope and member problems", "POST", KEYS, {"name": 1, "scopes": ["resources:write", "x"], "y": 2}
    )
