"""The limits of headers, query fields and query length of a request: above them, 400."""

from pathlib import Path

import pytest

from extauthz.check.request_headers import MAX_HEADERS
from extauthz.domain.request_line import MAX_QUERY_FIELDS, MAX_QUERY_LENGTH
from tests.builders import check_request, read_answer
from tests.real_service import real_service, token

POLICIES = {
    "resources": [
        {"name": "note:read", "serviceName": "notes", "routes": [{"methods": ["GET"], "path": "/notes"}]}
    ],
    "role_rules": [
        {"id": "all", "sub": "*", "dom": "*", "obj": "note:read", "act": "read", "effect": "allow"}
    ],
}
PSEUDO = 3  # that `check_request` adds to `headers`


def asking(target: str) -> bytes:
    return check_request(target, headers={"authorization": f"Bearer {token()}"})


def query(fields: int) -> str:
    return "/notes?" + "&".join(f"f{number}=%41" for number in range(fields))


def many_headers(headers: int, *, raw: bool) -> bytes:
    named = {f"x-{number}": "v" for number in range(headers - 1)} | {"authorization": f"Bearer {token()}"}
    if raw:
        return check_request("/notes", raw_headers=[(name, value.encode()) for name, value in named.items()])
    return check_request("/notes", headers=named)


def with_query(fields: int, *, raw: bool) -> bytes:
    named = {"authorization": f"Bearer {token()}"}
    if raw:
        return check_request(
            query(fields), raw_headers=[(name, value.encode()) for name, value in named.items()]
        )
    return check_request(query(fields), headers=named)


def repeated_header(times: int) -> bytes:
    entries = [("authorization", f"Bearer {token()}".encode()), *[("x-same", b"v")] * (times - 1)]
    return check_request("/notes", raw_headers=entries)


@pytest.mark.parametrize("raw", [False, True], ids=["headers", "header_map"])
def test_as_many_headers_and_query_fields_as_the_bound_are_judged(raw: bool, tmp_path: Path) -> None:
    with real_service(tmp_path, POLICIES) as running:
        for request in (
            many_headers(MAX_HEADERS if raw else MAX_HEADERS - PSEUDO, raw=raw),
            repeated_header(MAX_HEADERS),
            with_query(MAX_QUERY_FIELDS, raw=raw),
            asking("/notes?" + "q" * MAX_QUERY_LENGTH),
        ):
            assert read_answer(running.service.answer(request, 1.0)).allowed


@pytest.mark.parametrize("raw", [False, True], ids=["headers", "header_map"])
def test_more_headers_or_query_fields_than_the_bound_are_a_logged_denial(raw: bool, tmp_path: Path) -> None:
    requests = [
        many_headers(MAX_HEADERS + 1, raw=raw),
        many_headers(20 * MAX_HEADERS, raw=raw),
        repeated_header(MAX_HEADERS + 1),
        with_query(MAX_QUERY_FIELDS + 1, raw=raw),
        with_query(20 * MAX_QUERY_FIELDS, raw=raw),
        check_request(
            "/notes?" + "q" * (MAX_QUERY_LENGTH + 1), headers={"authorization": f"Bearer {token()}"}
        ),
        asking("/notes?" + "\u20ac" * (MAX_QUERY_LENGTH // 2)),
        asking("/notes?" + "&" * MAX_QUERY_FIELDS),
    ]
    with real_service(tmp_path, POLICIES) as running:
        for request in requests:
            answer = read_answer(running.service.answer(request, 1.0))
            assert (answer.allowed, answer.status) == (False, 400)
        lines = running.decisions()
    assert [(line["decision"], line["reason"]) for line in lines] == [("deny", "request_malformed")] * len(
        requests
    )
