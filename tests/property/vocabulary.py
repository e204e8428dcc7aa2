"""The small vocabularies that random policies and requests are drawn from; small, so that rules collide."""

from decimal import Decimal
from typing import Any, Final

# "r8" is the top of the longest chain that is allowed: eight links above "r0".
ROLES: Final = [f"r{number}" for number in range(9)]
SUBJECTS: Final = ["r0", "r1", "r2", "r5", "r8", "u1", "u2", "s1", "user:u1", "anonymous"]
USERS: Final = ["u1", "u2", "r1", "s1", "user:u1"]
SERVICES: Final = ["s1", "u1", "r2"]
DOMAINS: Final = ["d1", "d2"]
RESOURCES: Final = ["doc", "file:read", "box:", "*name"]
PATHS: Final = ["/a", "/a@b", "/a%40b"]
ACTIONS: Final = ["read", "write", "access", "get"]
PRIORITIES: Final = [0, 0, 0, 0, 1, 1, -1, -1, 5, -5, 1000, -1000]
DENY_PRIORITIES: Final = [*PRIORITIES, 1001, 2**31 - 1, -(2**31)]
TENANTS: Final = ["acme", "globex"]
HEADERS: Final = ["x-a", "x-b"]

NOW: Final = "2026-01-05T10:00:00Z"
INSTANTS: Final = [
    "2026-01-05T09:59:59Z",
    NOW,
    "2026-01-05T11:00:00+01:00",
    "2026-01-05T10:00:00.5Z",
    "2026-01-11T23:30:00-01:00",
]
ADDRESSES: Final = ["10.0.0.1", "10.1.2.3", "192.0.2.7", "2001:db8::1", "2001:DB8:0::0001"]
NETWORKS: Final = ["10.0.0.0/8", "10.1.2.3/32", "192.0.2.0/29", "2001:db8::/32", "0.0.0.0/0"]

SEGMENTS: Final = ["a", "b", "1", "%61", "x%20y", "caf%c3%a9", "a@b", "a%40b", "a!"]
TEMPLATES: Final = [
    "/",
    "/**",
    "/a",
    "/a/",
    "/a/**",
    "/a/b",
    "/a/b/**",
    "/a/{x}",
    "/a/{y}",
    "/{x}",
    "/{owner}/b",
    "/{x}/{y}",
    "/{x}/**",
    "/a/{name}/**",
    "/a/{parameters}/b",
    "/x%20y/{x}",
    "/a@b/**",
    "/a%40b",
    "/{x}/a@b",
    "/{x}/a%40b/**",
]
ROUTE_HOSTS: Final = [None, None, "h.example", "a.h.example", "*.h.example", "*.a.h.example", "*.example"]
HOSTS: Final = ["h.example", "a.h.example", "b.a.h.example", "c.h.example", "other.test", "A.H.example:8443"]
METHODS: Final = [["*"], ["GET"], ["POST"], ["GET", "POST"], ["DELETE", "GET"]]

STRINGS: Final = ["a", "b", "abc", "u1", "d1", "doc", "", "3", "x y", "true", "10.0.0.1", "GET"]
NUMBERS: Final[list[int | Decimal]] = [0, 1, 3, 10, -2, Decimal("3.0"), Decimal("0.1"), 2**53, 2**53 + 1]
LISTS: Final[list[list[Any]]] = [
    ["a"],
    ["a", "b"],
    ["b", "a"],
    ["r0", "r1"],
    [1, 3],
    [Decimal("0.1"), 10],
    [True],
    ["u1", "x y", "3"],
]
CLAIMS: Final[list[Any]] = [
    *STRINGS,
    *NUMBERS,
    *LISTS,
    True,
    False,
    None,
    [],
    [1, "a", None],
    [["a"], "a"],
    {"deep": "a"},
    {"deep": 3},
]
READ_CLAIMS: Final = [
    *INSTANTS, "2026-01-05t10:00:00z", "2026-01-05", "2026-02-30T10:00:00Z", "2026-01-05T10:00:00", "now",
    *ADDRESSES, "10.0.0.01", "10.0.0.1 ", "fe80::1%eth0", "::", "a b abc", " a  b", "a", "", "a\tb", "abc,a",
]  # fmt: skip
"""Texts that conditions read as times, addresses and words; others have another form."""
CLAIM_NAMES: Final = ["c", "n", "l", "o", "id", "domain"]
PATTERNS: Final = ["a", "a.*", "[a-z]+", "", "(a|b)c?", ".*3", r"\d+", "u[0-9]", r"(?i)ABC", "a$"]

ATTRIBUTES: Final = [
    "user.id",
    "user.kind",
    "user.roles",
    "user.domain",
    "user.tenant",
    "user.c",
    "user.n",
    "user.l",
    "user.o",
    "user.o.deep",
    "user.none.at.all",
    "resource.name",
    "resource.service",
    "resource.x",
    "resource.x.deep",
    "resource.y",
    "resource.owner",
    "resource.parameters.x",
    "resource.parameters.name",
    "resource.parameters.parameters",
    "action",
    "action.properties.soft",
    "action.properties.o.deep",
    "context.c",
    "context.o.deep",
    "request.method",
    "request.host",
    "request.path",
    "request.query.q",
    "request.query.q",
    "request.query.a b",
    "request.headers.x-a",
    "request.headers.x-b",
    "request.body.a",
    "request.body.o.b",
    "request.source.address",
    "request.source.principal",
    "env.time",
    "env.hour",
    "env.weekday",
]
LIST_ATTRIBUTES: Final = ["user.roles", "user.roles", "user.l", "user.c", "resource.x"]
NUMBER_ATTRIBUTES: Final = ["user.n", "user.c", "resource.y", "env.hour", "env.weekday", "request.query.q"]
SIMPLE_OPERATORS: Final = ["eq", "eq", "neq", "neq", "in", "in", "notIn", "notIn"]
QUERIES: Final = [
    "",
    "?",
    "?q=a",
    "?q=abc",
    "?q=3&a+b=x+y",
    "?q=a&q=a",
    "?%71=a&b=2",
    "?q",
    "?q=",
    "?a%20b=a",
    "?q=a;b=2",
    "?q=%zz",
    "?b=%ff",
    "?q=a&&x=%C3%A9",
    "?q=a!",
    "?q=a&x=!",
    "?q=%21",
]
OCTETS: Final = ["\\xff", "\\xc3", "?q=a\\xff"]
"""What is added to a path here and there; none of it is UTF-8."""
HEADER_VALUES: Final[list[Any]] = [
    "a",
    "abc",
    "3",
    "",
    ["a"],
    ["a", "a"],
    ["a", "b"],
    ["a", ""],
    "a,b",
    "a!",
    {"octets": "a\\xff"},
    ["a", {"octets": "\\xff"}],
    {"octets": "\\x61"},
]
BODY_TYPES: Final = [
    *["application/json"] * 4,
    "application/json; charset=utf-8",
    "application/x+json",
    "application/x-www-form-urlencoded",
    "text/plain",
    "application/json; charset=latin1",
]
BODIES: Final = [
    '{"a": "a"}',
    '{"a": "abc", "o": {"b": "a"}}',
    '{"a": 3, "o": {"b": [1, "a"]}}',
    '{"a": 3.0, "o": {"b": true}}',
    '{"a": ["a", "abc"], "o": {"b": 9007199254740993}}',
    '{"a": null, "o": {}}',
    '{"a": {"b": 1}, "o": "a"}',
    '{"A": "a", "o": {"b": "a", "B": "abc"}}',
    '{"a": "a", "o.b": "a"}',
    '{"a": "a\\u0000", "o": {"b": [null]}}',
    '{"a": "a", "a": "abc"}',
    '{"a": "a"',
    "[]",
    "",
    "a=a&o.b=3",
    "a=a&A=abc",
    "a=abc",
]
SPIFFE: Final = ["spiffe://x/s1", "u1", "spiffe://x/s1/a", "spiffe://x", "spiffe://xy/s1", "spiffe://X/s1"]
WRITTEN_WORKLOADS: Final = ["spiffe://x/s1", "spiffe://x/**", "spiffe://x/s1/**", "u1", "spiffe://x/s"]
