"""Conditions on the body of a request, through real Envoy."""

import gzip
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.gate import ALLOWED, DENIED, EC, Gate, Posture, bearer, gate
from tests.tokens import AUDIENCE, claims

CLOSED = Posture(careful=True, fail_open=False)
BYTES = {
    "with_request_body": {"max_request_bytes": 4096, "allow_partial_message": True, "pack_as_bytes": True}
}
POLICIES = """
role_rules:
  - {id: allow-anonymous, sub: anonymous, dom: "*", obj: "site:use", act: "*", effect: allow}
  - {id: clerks-order, sub: clerk, dom: "*", obj: "order:place", act: "*", effect: allow}
resources:
  - {name: "site:use", serviceName: site, routes: [{methods: ["*"], path: "/", authentication: optional}]}
  - {name: "transfer:make", serviceName: bank, routes: [{methods: [POST], path: /transfers}]}
  - {name: "order:place", serviceName: shop, routes: [{methods: [POST], path: /orders}]}
attribute_policies:
  - id: small-transfers
    name: Up to a thousand
    resource: "transfer:make"
    effect: allow
    format: casbin
    rule_data: request.body.amount <= 1000 && request.body.to.country == "CH"
  - id: large-orders
    name: No orders above a hundred
    resource: "order:place"
    effect: deny
    rule_data: {type: CONDITION, attribute: request.body.count, operator: gt, value: 100}
"""
SMALL = {"amount": 12.5, "to": {"country": "CH"}}


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    folder = tmp_path_factory.mktemp("bodies")
    (folder / "conditions").mkdir()
    (folder / "conditions" / "all.yaml").write_text(POLICIES)
    page = (Path(__file__).parents[2] / "docs" / "graphql.md").read_text("utf-8")
    (sample,) = re.findall("```yaml title=[^\n]*\n(.*?)```", page, re.DOTALL)
    (folder / "conditions" / "graphql.yaml").write_text(sample)
    with gate(folder, check=BYTES, POLICY_SOURCE=f"files:{folder / 'conditions'}") as found:
        yield found


def posted(
    door: Gate,
    path: bytes,
    body: bytes,
    *lines: bytes,
    kind: bytes = b"application/json",
    role: str = "clerk",
    method: bytes = b"POST",
) -> int:
    now = int(time.time())
    usual = {"iss": door.provider.issuer, "aud": AUDIENCE, "iat": now - 5, "exp": now + 600}
    token = bearer(EC.sign(claims(**usual, realm_access={"roles": [role]})))
    length = (
        ()
        if any(line.lower().startswith(b"transfer-encoding") for line in lines)
        else (b"Content-Length: %d" % len(body),)
    )
    headers = (token, *length, *((b"Content-Type: " + kind,) if kind else ()), *lines)
    return door.send(CLOSED, path, *headers, method=method, body=body).status


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (*parts, b""))


def test_members_of_the_body_decide(door: Gate) -> None:
    text = json.dumps(SMALL).encode()
    assert posted(door, b"/transfers", text) == ALLOWED
    assert posted(door, b"/transfers", text, kind=b'application/vnd.bank+json; charset="UTF-8"') == ALLOWED
    assert posted(door, b"/transfers", chunked(text[:9], text[9:]), b"Transfer-Encoding: chunked") == ALLOWED
    for other in ({**SMALL, "amount": 1000.01}, {**SMALL, "to": {"country": "AT"}}, {"amount": 1}, [SMALL]):
        assert posted(door, b"/transfers", json.dumps(other).encode()) == DENIED


def test_a_body_that_conditions_cannot_read_is_unknown(door: Gate) -> None:
    text = json.dumps(SMALL).encode()
    unread: list[tuple[bytes, tuple[bytes, ...], bytes]] = [
        (b"", (), b"application/json"),
        (text, (), b""),
        (text, (), b"text/plain"),
        (text, (), b"application/json; charset=utf-16"),
        (text, (b"Content-Type: application/json",), b"application/json"),
        (gzip.compress(text), (b"Content-Encoding: gzip",), b"application/json"),
        (text, (b"Content-Encoding: identity",), b"application/json"),
        (text + b" " * 4096, (b"x-envoy-auth-partial-body: false",), b"application/json"),
        (text[:-1], (), b"application/json"),
        (text + b" " * 4096, (), b"application/json"),
        (b"\xef\xbb\xbf" + text, (), b"application/json"),
        (json.dumps(SMALL).encode("utf-16"), (), b"application/json"),
        (text[:-1] + b', "Amount": 5000}', (), b"application/json"),
        (text[:-1] + b', "amount": 5000}', (), b"application/json"),
    ]
    for body, lines, kind in unread:
        assert posted(door, b"/transfers", body, *lines, kind=kind) == DENIED, (body, lines, kind)


def test_an_unknown_body_meets_a_deny(door: Gate) -> None:
    assert posted(door, b"/orders", b'{"count": 100}') == ALLOWED
    assert posted(door, b"/orders", b"count=99", kind=b"application/x-www-form-urlencoded") == DENIED
    for body in (b'{"count": 101}', b"{}", b'{"Count": 1}', b'{"count": "1"}', b"", b"x" * 9000):
        assert posted(door, b"/orders", body) == DENIED, body


READS = {"documentId": "sha256:1f0d", "variables": {"first": 10}}
CANCEL = {"documentId": "sha256:9e44", "operationName": "CancelOrder"}


def test_stored_documents_of_graphql_decide(door: Gate) -> None:
    def sent(document: object, role: str = "customer", path: bytes = b"/graphql") -> int:
        return posted(door, path, json.dumps(document).encode(), role=role)

    assert sent(READS) == ALLOWED
    assert sent(CANCEL, "clerk") == ALLOWED
    assert sent(CANCEL) == DENIED
    refused: list[object] = [
        {"documentId": "sha256:0000"},
        {"query": "{ orders { id } }"},
        {"query": "mutation Ping { cancelAll }", "operationName": "CancelOrder"},
        READS | {"query": "mutation { cancelAll }"},
        READS | {"Query": "mutation { cancelAll }"},
        READS | {"query": 7},
        READS | {"DocumentId": "sha256:9e44"},
        READS | {"extensions": {"persistedQuery": 1}},
        CANCEL | {"operationName": "RefundOrder"},
        {"documentId": CANCEL["documentId"]},
        [READS],
        [READS, {"query": "mutation { cancelAll }"}],
    ]
    for document in refused:
        assert sent(document, "clerk") == DENIED, document
    for query in (
        b"query=%7Ba%7D",
        b"documentId=sha256:9e44",
        b"operationName=Other",
        b"query",
        b"query[]=%7Ba%7D",
        b"query%5Ba%5D=1",
        b"%71uery=1",
    ):
        assert sent(READS, path=b"/graphql?" + query) == DENIED, query
    text = json.dumps(READS).encode()
    for kind in (b"application/graphql", b"multipart/form-data; boundary=x", b"text/plain", b""):
        assert posted(door, b"/graphql", text, kind=kind) == DENIED, kind
    assert posted(door, b"/graphql?query=%7Borders%7Bid%7D%7D", b"", method=b"GET") == DENIED
