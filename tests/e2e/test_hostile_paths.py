"""No spelling of a path avoids the rules of a prefix, however Envoy and the upstream read it."""

import json
import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.gate import ALLOWED, DENIED, POSTURES, RSA, Gate, Posture, bearer, gate
from tests.e2e.raw_http import http1, http2, http2_request, request
from tests.hostile_paths import FRAGMENTS
from tests.real_tokens import good_claims

CORPUS = json.loads((Path(__file__).parents[1] / "fuzz" / "corpus" / "path.json").read_text("utf-8"))
TO_ADMIN = [
    b"/admin/users", b"/admin", b"/admin/", b"/%61dmin/users", b"/%61%64%6D%69%6e", b"/./admin", b"//admin",
    b"///admin//users", b"/x/../admin", b"/x/%2e%2e/admin", b"/x/..%2fadmin", b"/x%2f..%2fadmin",
    b"/..;/admin",
    b"/x/..;y/admin", b"/%252e%252e/admin", b"/x/%25%32%65%25%32%65/admin", b"\\admin", b"/\\admin",
    b"/x\\..\\admin",
    b"/x/..%5cadmin", b"/%5cadmin", b"/admin%00", b"/admin%00.png", b"/admin;x", b"/admin;x/users",
    b"/admin%3bx",
    b"/;/admin", b"/;x=y/admin", b"/admin%20", b"/admin%09/users", b"/%20/../admin", b"/admin%0a",
    b"/admin#x",
    b"/x#/../admin", b"/x?/../admin", b"/x%3f/../../admin", b"/%c0%ae%c0%ae/admin", b"/x/%c0%ae%c0%ae/admin",
    b"/%ef%bc%8e%ef%bc%8e/admin", b"/%ef%bc%8fadmin", b"/%u002e%u002e/admin", b"/%2561dmin",
    b"/%25%36%31dmin",
    b"http://site.example/admin", b"http://other/x/../admin", b"HTTP://site.example//admin", b"admin", b"*",
    b"/\xc3\xa9/../admin", b"/\xff/../admin", b"/x/\x00/../admin", b"/admin\x00", b"/x /../admin",
    b"/\tadmin",
    b"/x/.%00./admin", b"/.%0d./admin", b"/x/%2e%00%2e/admin", b"/admin/../admin", b"/x/../../../../admin",
]  # fmt: skip


def targets() -> Iterator[bytes]:
    """Yield the corpus, alone and below a public prefix, the classics, and random splices of both."""
    yield from TO_ADMIN
    raws = [raw for family in CORPUS.values() for raw in family]
    # Lone surrogates have no bytes; what they encode to is refused as invalid UTF-8.
    octets = [raw.encode("utf-8", "surrogatepass") for raw in raws]
    yield from octets
    yield from (b"/public" + raw for raw in octets if raw.startswith(b"/"))
    fragments = [fragment.encode("utf-8", "surrogatepass") for fragment in FRAGMENTS]
    chance = random.Random(4)
    for _ in range(250):
        middle = b"".join(chance.choices(fragments, k=chance.randrange(1, 5)))
        yield (
            b"/"
            + chance.choice([b"", b"public/", b"x/%7e/"])
            + middle
            + chance.choice([b"/", b""])
            + b"admin"
        )


TARGETS = [target for target in targets() if b"\r" not in target and b"\n" not in target]


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    with gate(tmp_path_factory.mktemp("paths")) as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_has_arrived(door: Gate) -> None:
    door.upstream.arrivals.clear()


@pytest.mark.parametrize("posture", POSTURES, ids=str)
def test_no_path_reaches_what_is_protected(door: Gate, posture: Posture) -> None:
    bob = bearer(RSA.sign(good_claims(door.provider.issuer, "bob")))
    with ThreadPoolExecutor(8) as pool:
        statuses = Counter(
            reply.status for reply in pool.map(lambda raw: door.send(posture, raw, bob), TARGETS)
        )
        statuses += Counter(reply.status for reply in pool.map(lambda raw: door.send(posture, raw), TO_ADMIN))

    assert [arrival.target for arrival in door.upstream.arrivals if arrival.may_mean("admin")] == []
    assert set(statuses) <= {0, ALLOWED, 400, 401, DENIED}
    # What is plain passes, what is protected is refused, what is ambiguous is neither: all of it was judged.
    assert min(statuses[ALLOWED], statuses[400], statuses[401], statuses[DENIED]) >= 5
    assert len(door.upstream.arrivals) == statuses[ALLOWED]


@pytest.mark.parametrize("posture", POSTURES, ids=str)
def test_no_http2_path_reaches_a_protected_resource(door: Gate, posture: Posture) -> None:
    bob = (b"authorization", bearer(RSA.sign(good_claims(door.provider.issuer, "bob"))).partition(b": ")[2])
    port = door.ports[posture]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda raw: http2(port, http2_request(raw, bob)), [*TO_ADMIN, *TARGETS[::2]]))
        line_breaks = [
            b"/admin\r\n",
            b"/x\r\nX: y",
            b"/x\n/../admin",
            b"/x HTTP/1.1\r\nHost: a\r\n\r\nGET /admin",
        ]
        list(pool.map(lambda raw: http2(port, http2_request(raw, bob)), line_breaks))

    assert [arrival.target for arrival in door.upstream.arrivals if arrival.may_mean("admin")] == []
    assert len(door.upstream.arrivals) >= 10


@pytest.mark.parametrize("posture", POSTURES, ids=str)
def test_an_administrator_is_allowed(door: Gate, posture: Posture) -> None:
    admin = bearer(RSA.sign(good_claims(door.provider.issuer, "root", roles=["admin"])))

    assert door.send(posture, b"/admin/users", admin).status == ALLOWED
    assert http2(door.ports[posture], http2_request(b"/admin", (b"authorization", admin[15:])))
    assert [arrival.may_mean("admin") for arrival in door.upstream.arrivals] == [True, True]


@pytest.mark.parametrize("posture", POSTURES, ids=str)
def test_a_second_request_inside_the_first_is_judged_too(door: Gate, posture: Posture) -> None:
    """Request smuggling: everything that Envoy reads as a request is checked, the rest is body."""
    inner = request(b"/admin/users")
    framings = [
        [b"Content-Length: 0", b"Transfer-Encoding: chunked"],
        [b"Content-Length: 0", b"Content-Length: %d" % len(inner)],
        [b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"],
        [b"Transfer-Encoding: xchunked"],
        [b"Transfer-Encoding : chunked"],
        [b"Content-Length: +0"],
        [b"Content-Length: 0x0"],
        [
            b"Upgrade: h2c",
            b"Connection: Upgrade, HTTP2-Settings",
            b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA",
        ],
        [b"Upgrade: websocket", b"Connection: Upgrade", b"Content-Length: 0"],
        [b"Expect: 100-continue"],
        [],
    ]
    for framing in framings:
        for body in (b"", b"0\r\n\r\n"):
            http1(door.ports[posture], request(b"/x", *framing, method=b"POST") + body + inner)
    http1(door.ports[posture], b"GET /x HTTP/1.1\nHost: site.example\n\n" + inner)
    http1(door.ports[posture], b"GET /x HTTP/1.0\r\n\r\n" + inner)
    http1(door.ports[posture], b"GET /x\r\n\r\n" + inner)

    assert [arrival.target for arrival in door.upstream.arrivals if arrival.may_mean("admin")] == []


@pytest.mark.parametrize("posture", POSTURES, ids=str)
@pytest.mark.parametrize(
    "method", [b"CONNECT", b"OPTIONS", b"TRACE", b"PROPFIND", b"get", b"HEAD", b"GE T", b"G\x00ET"]
)
def test_no_method_leads_past_the_rules(door: Gate, posture: Posture, method: bytes) -> None:
    for target in (b"/admin/users", b"site.example:80", b"*", b"http://site.example/admin"):
        reply = door.send(posture, target, method=method)
        assert reply.status in {0, 400, 401, DENIED, 404, 405}, target

    assert door.upstream.arrivals == []
