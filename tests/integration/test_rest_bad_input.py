"""Invalid input is answered with a 4xx problem that names the error: never a 500, never a partial write."""

import asyncio
import json
from itertools import product
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import yarl

from extauthz.admin.app import served
from extauthz.domain.tenancy import TenancyMode
from extauthz.rest.operation import Operation
from extauthz.rest.request_body import JSON
from tests.integration.database_dump import dump
from tests.integration.rest_harness import ADMIN_KEY, Api, rest, rule
from tests.integration.rest_saas import firms

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
RULES = "/api/v1/resources/policies"
NO_ID = "01900000-0000-7000-8000-000000000000"
WITH_BODY = [
    route
    for route in served(TenancyMode.SELFHOST)
    if route.document_body is not None
    and route.document_body.media_types[0] == JSON
    and not route.requires.permission.of_operator
]
WITHOUT_BODY = [
    route for route in served(TenancyMode.SAAS) if route.document_body is None and route.methods != {"GET"}
]

NOT_JSON = (
    b"{", b"x", b"{'a': 1}", b'{"a": NaN}', b'{"a": Infinity}', b'{"a": 1, "a": 2}', b'{"a": 1e999}',
    b'{"sub": "\\ud800"}', b'"\\ud800"', b"\xff\xfe{}", b'\xef\xbb\xbf{"a": 1}', b'{"a": "\xed\xa0\x80"}',
    b"[" * 100 + b"]" * 100, b"[" * 100_000, b'{"a":' * 200 + b"1" + b"}" * 200, b"1" * 1000, b"{} {}",
    b'{"a": 0x10}', b"\x00", b'{"a": "\x00"}',
)  # fmt: skip
NOT_A_DOCUMENT = (
    b"null", b"true", b"1", b'"text"', b"[]", b"[[]]", b"{}", b'{"id": null}', b'{"": 1}',
    b'{"a\\u0000b": 1}',
    b'{"name": "a\\u0000b", "sub": "a\\u0000b", "obj": "\\u0000", "user": "\\u0000", "subject": "\\u0000"}',
    b'{"name": "e\\u0301", "sub": "e\\u0301", "role": "\\u200b", "resource": "\\u202e", "dom": " x"}',
    b'{"priority": 99999999999999999999999999, "min_revision": 99999999999999999999999999}',
    b'{"priority": 1.5, "min_revision": 1.5, "enabled": 1, "expires_at": 1e300}',
    b'{"name": [], "sub": {}, "dom": 1, "obj": true, "act": null, "effect": [], "actions": {}, "routes": []}',
    b'{"rule_data": {"type": "NOT", "condition": {"type": "NOT"}}, "routes": {"0": 1}, "defaultRoles": "x"}',
)  # fmt: skip


def method_of(route: Operation) -> str:
    assert route.methods is not None
    return next(iter(route.methods))


_IN_AUTHZEN = "/access/v1/"


def caller_of(route: Operation) -> str:
    """Return a caller that the route is for."""
    of_key = route.requires.permission.of_operator or _IN_AUTHZEN in route.path
    return "key" if of_key else "tenant"


def path_of(route: Operation) -> str:
    return route.path.replace("{id}", NO_ID)


async def test_a_body_that_is_not_json_is_400(database: "Database") -> None:
    async with rest(database) as api:
        for route, data in product(WITH_BODY, NOT_JSON):
            answer = await api.ask(method_of(route), path_of(route), data=data, caller=caller_of(route))
            assert answer.status == 400, (route.operation_id, data[:60], answer)
            answer.problem(400)
            assert answer.pointers == [""]


async def test_a_body_that_is_not_a_document_is_a_problem(database: "Database") -> None:
    async with rest(database) as api:
        for route, data in product(WITH_BODY, NOT_A_DOCUMENT):
            answer = await api.ask(method_of(route), path_of(route), data=data, caller=caller_of(route))
            if route.document_body is not None and route.document_body.is_bulk and data == b"[]":
                assert answer.status == (404 if "{id}" in route.path else 200), answer
                continue
            if data == b"{}" and route.operation_id in {"createDraft", "replaceChangeGuard"}:
                # A draft needs no title, and every setting has a default.
                assert answer.status in {200, 201}, answer
                continue
            # AuthZEN answers 400 where the API answers 422.
            expected = {400, 404} if _IN_AUTHZEN in route.path else {404, 422}
            assert answer.status in expected, (route.operation_id, data[:60], answer)
            answer.problem(answer.status)


async def test_a_write_that_reads_no_body_does_nothing_when_one_is_sent(database: "Database") -> None:
    policy = {"name": "n", "resource": "r", "effect": "deny", "rule_data": {"type": "ALWAYS"}}
    async with firms(database, "acme") as made:
        api, admin = made.api, "acme/admin"
        created = (await api.post("/api/v1/abac/policies", policy, caller=admin)).succeeded(201)
        path = f"/api/v1/abac/policies/{created.body['id']}"
        (await api.ask("DELETE", path, caller=admin)).succeeded(204)
        before = await dump(database, catalogs=False)

        for route, data in product(WITHOUT_BODY, (b'{"version": 1}', b"null", b"x", b" " * 2000)):
            url = route.path.replace("{idp_id}", NO_ID).replace("{key_id}", NO_ID)
            caller = "operator" if url.startswith("/admin") else admin
            url = url.replace("{id}", "acme" if caller == "operator" else created.body["id"])
            answer = await api.ask(method_of(route), url, data=data, caller=caller)
            answer.problem(422)
            assert answer.pointers == [""], (route.operation_id, data[:60])

        assert await dump(database, catalogs=False) == before
        restored = await api.ask("POST", f"{path}/restore", data=b"{}", caller=admin)
        assert restored.succeeded(200).body["version"] == 3


async def test_a_nul_and_its_kind_are_pointed_at(database: "Database") -> None:
    async with rest(database) as api:
        for name in ("a\0b", "a\u200bb", "e\u0301", " a", "a\u202e", "\u3164", "x" * 257):
            answer = await api.post(RULES, rule(sub=name))
            answer.problem(422)
            assert answer.pointers == ["/sub"]
        # Names that fit one by one and not together: the database's own bound.
        wide = "漢" * 256
        (await api.post(RULES, rule(sub=wide, dom=wide, obj=wide, act=wide))).problem(422)


async def test_a_condition_of_any_shape_and_depth_is_judged(database: "Database") -> None:
    async with rest(database) as api:
        for depth, status in ((31, 201), (32, 422), (60, 400)):
            tree: Any = {"type": "ALWAYS"}
            for _ in range(depth):
                tree = {"type": "AND", "conditions": [tree]}
            policy = {"name": "n", "resource": "r", "effect": "deny", "rule_data": tree}
            answer = await api.post("/api/v1/abac/policies", policy)
            assert answer.status == status, (depth, answer)
        wide = {"type": "OR", "conditions": [{"type": "ALWAYS"}] * 1001}
        policy = {"name": "n", "resource": "r", "effect": "deny", "rule_data": wide}
        (await api.post("/api/v1/abac/policies", policy)).problem(422)
        values = ["x" * 1000 + str(number) for number in range(300)]
        large = {"type": "CONDITION", "attribute": "user.a", "operator": "in", "value": values}
        answer = await api.post("/api/v1/abac/policies", policy | {"rule_data": large})
        answer.problem(422)
        assert answer.pointers == ["/rule_data"]
        actions = [f"action-{number:05}" for number in range(20_000)]
        answer = await api.post("/api/v1/abac/policies", policy | {"actions": actions})
        answer.problem(422)


async def test_an_end_after_the_last_second_there_is_is_refused(database: "Database") -> None:
    last, later = "9999-12-31T23:59:59Z", "9999-12-31T23:59:59.9999999Z"
    binding = {"user": "alice", "user_kind": "user", "role": "finance", "dom": "emea"}
    csv = {"Content-Type": "text/csv"}
    async with rest(database) as api:
        refused = await api.post("/api/v1/role-bindings", binding | {"expires_at": later})
        line = await api.ask(
            "POST", "/api/v1/casbin/policy", data=f"g,user:a,role:b,*,{later}".encode(), **csv
        )
        stored = await api.post("/api/v1/role-bindings", binding | {"expires_at": last})

        refused.problem(422)
        assert refused.pointers == ["/expires_at"]
        assert line.problem(422)["errors"][0]["line"] == 1
        assert stored.succeeded(201).body["expires_at"] == last


async def test_a_name_too_long_for_an_index_is_reported_with_its_place_in_the_list(
    database: "Database",
) -> None:
    def resource(name: str, **members: object) -> dict[str, object]:
        return {"name": name, "serviceName": "billing"} | members

    longest = "\U0001f600" * 256
    documents = [
        resource("fits", routes=[{"methods": ["GET"], "path": "/" + "a" * 1999}]),
        resource("path", routes=[{"methods": ["GET"], "path": "/" + "a" * 2000}]),
        resource("method", routes=[{"methods": ["A" * 65], "path": "/method"}]),
        resource(f"a:{longest[:240]}", defaultRoles=[longest]),
    ]
    async with rest(database) as api:
        refused = await api.post("/api/v1/resources/list", documents)
        line = await api.ask(
            "POST",
            "/api/v1/casbin/policy",
            data=f"p,role:a,*,o,a,allow\np,role:{longest},{longest},{longest},a,allow".encode(),
            **{"Content-Type": "text/csv"},
        )
        (await api.post("/api/v1/resources/list", documents[:1])).succeeded(201)

        refused.problem(422)
        assert refused.pointers == ["/1/routes/0/path", "/2/routes/0/methods/0", "/3/defaultRoles/0"]
        assert [each["line"] for each in line.problem(422)["errors"]] == [2]


async def test_long_bodies_are_refused_before_they_are_read(database: "Database") -> None:
    async with rest(database) as api:
        too_long = await api.ask("POST", RULES, data=b" " * (2**20 + 1))
        assert too_long.problem(413)["title"] == "Content Too Large"
        assert too_long.pointers == [""]
        (await api.ask("POST", RULES, data=b" " * (10 * 2**20))).problem(413)
        (await api.ask("POST", "/api/v1/resources/list", data=b" " * (8 * 2**20 + 1))).problem(413)
        almost = json.dumps(rule()).encode().ljust(2**20)
        (await api.ask("POST", RULES, data=almost)).succeeded(201)
        # Nothing of the body was sent, and the answer is there.
        head = b"Content-Type: application/json\r\nContent-Length: 10485760\r\n"
        assert await raw_status(api, head) == 413
        chunks = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
        assert await raw_status(api, b"Transfer-Encoding: chunked\r\n", chunks + chunks) == 413


async def raw_status(api: Api, head: bytes, body: bytes = b"") -> int:
    port = urlsplit(api.url).port
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST /api/v1/resources/policies HTTP/1.1\r\nHost: x\r\n")
    writer.write(b"X-Admin-Api-Key: " + ADMIN_KEY.encode() + b"\r\n" + head + b"\r\n" + body)
    status = int((await asyncio.wait_for(reader.readline(), 10)).split()[1])
    writer.close()
    return status


async def test_a_body_of_another_type_is_415(database: "Database") -> None:
    async with rest(database) as api:
        for media_type in ("text/csv", "application/x-www-form-urlencoded", "x", "multipart/form-data"):
            answer = await api.post(RULES, rule(), Content_Type=media_type)
            answer.problem(415)
            assert answer.pointers == [""]
        (await api.post(RULES, rule(), Content_Type="Application/JSON; charset=utf-8")).succeeded(201)


async def test_a_missing_body_is_400(database: "Database") -> None:
    async with rest(database) as api:
        for route in WITH_BODY:
            if route.document_body is not None and route.document_body.required:
                answer = await api.ask(method_of(route), path_of(route), caller=caller_of(route))
                answer.problem(400)
                assert answer.pointers == [""]


async def test_unknown_paths_and_methods_are_refused(database: "Database") -> None:
    async with rest(database) as api:
        for path in (
            "/",
            "/api",
            "/api/v1",
            "/api/v1/resources/",
            "/docs/",
            "/api/v2/check",
            "/%00",
            "/..%2f",
        ):
            (await api.get(path)).problem(404)
        for method, word, allowed in (
            ("PATCH", "policies", "DELETE, GET, POST, PUT"),
            ("GET", "list", "POST"),
            ("DELETE", "list", "POST"),
        ):
            answer = await api.ask(method, f"/api/v1/resources/{word}", {})
            answer.problem(405)
            assert answer.headers["Allow"] == allowed
        answer = await api.ask("PUT", "/api/v1/resources")
        answer.problem(405)
        assert answer.headers["Allow"] == "GET, POST"
        answer = await api.ask("PUT", "/api/v1/check")
        answer.problem(405)
        assert answer.headers["Allow"] == "POST"
        (await api.ask("DELETE", "/healthz/live")).problem(405)
        (await api.ask("TRACE", RULES)).problem(405)


@pytest.mark.parametrize(
    "path",
    [
        "/%61dmin/sidecar-keys",
        "/admin%2Fsidecar-keys",
        "/api%2fv1/resources",
        "/api/v1/%72esources",
        "/%6detrics",
        "/healthz%2Fready",
    ],
)
async def test_what_a_proxy_closes_by_its_text_has_no_other_spelling(database: "Database", path: str) -> None:
    async with rest(database) as api:
        url = yarl.URL(api.url + path, encoded=True)
        async with api.session.get(url, headers=api.callers["key"]) as response:
            assert response.status == 404
            assert (await response.json())["detail"] == "there is nothing at this path"


async def test_an_internal_error_discloses_nothing(database: "Database") -> None:
    def broken() -> str:
        raise RuntimeError("the secret of the house")

    async with rest(database, new_id=broken) as api:
        answer = await api.post(RULES, rule())
        assert answer.problem(500) == {"type": "about:blank", "title": "Internal Server Error", "status": 500}


async def test_nothing_of_a_refused_write_is_stored(database: "Database") -> None:
    async with rest(database) as api:
        before = (await api.post(RULES, rule())).revision
        (await api.post(RULES, rule())).problem(409)
        documents = [{"name": "a", "serviceName": "s", "defaultRoles": ["r"]}] + [
            {"name": name, "serviceName": "s", "routes": [{"methods": ["GET"], "path": "/same"}]}
            for name in ("b", "c")
        ]
        (await api.post("/resources/list", documents)).problem(409)
        assert (await api.get("/api/v1/resources")).body["items"] == []
        assert len((await api.get("/api/v1/audit")).body["items"]) == 1
        assert (await api.post(RULES, rule(act="x"))).revision == before + 1
