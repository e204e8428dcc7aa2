"""Answers of a real HTTP server about opaque tokens (RFC 7662): what they hold, and how long they count."""

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from extauthz.decide.needs import NeedsIntrospection
from extauthz.decide.tokens.keyring import IntrospectionRule
from extauthz.decide.tokens.reader import Rejected
from extauthz.domain.principal import Authentication, Principal
from extauthz.domain.reasons import Reason
from extauthz.keys.introspection_request import MAX_ANSWER_BYTES
from tests.integration.introspecting import (
    AUDIENCE,
    NOW,
    TOKEN,
    answer,
    says,
    says_bytes,
    stage,
)
from tests.integration.scripted_server import Handler, scripted

pytestmark = pytest.mark.anyio


def reason(found: Principal | Rejected) -> Reason | None:
    return found.reason if isinstance(found, Rejected) else None


async def test_the_claims_of_an_answer_are_read_as_those_of_a_jwt(tmp_path: Path) -> None:
    async with stage(tmp_path, says(scope="read write", dom="emea", extra={"a": [1]})) as play:
        found = await play.ask()
        assert isinstance(found, Principal)
        assert (found.id, found.roles, found.domain) == ("alice", ("read", "write"), "emea")
        assert found.authentication is Authentication.INTROSPECTION
        assert found.claims["iss"] == play.server.url
        assert found.claims["extra"] == {"a": (1,)}
        (request,) = play.server.requests
        form = await request.post()
        assert dict(form) == {"token": TOKEN, "token_type_hint": "access_token"}
        assert request.headers["Authorization"].startswith("Basic ")
        assert request.headers["Accept"] == "application/json"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"active": False}, Reason.TOKEN_INACTIVE),
        ({"active": None}, Reason.TOKEN_INACTIVE),
        ({"active": "true"}, Reason.TOKEN_INACTIVE),
        ({"active": 1}, Reason.TOKEN_INACTIVE),
        ({"active": [True]}, Reason.TOKEN_INACTIVE),
        ({"active": {"active": True}}, Reason.TOKEN_INACTIVE),
        ({"iss": "https://another.example"}, Reason.TOKEN_UNKNOWN_ISSUER),
        ({"iss": 1}, Reason.TOKEN_UNKNOWN_ISSUER),
        ({"iss": []}, Reason.TOKEN_UNKNOWN_ISSUER),
        ({"iss": ""}, Reason.TOKEN_UNKNOWN_ISSUER),
        ({"exp": int(NOW) - 60}, Reason.TOKEN_EXPIRED),
        ({"exp": "later"}, Reason.TOKEN_CLAIMS_INVALID),
        ({"exp": True}, Reason.TOKEN_CLAIMS_INVALID),
        ({"exp": int(NOW) * 1000}, Reason.TOKEN_CLAIMS_INVALID),
        ({"nbf": int(NOW) + 60}, Reason.TOKEN_NOT_YET_VALID),
        ({"iat": int(NOW) + 60}, Reason.TOKEN_NOT_YET_VALID),
        ({"aud": "another"}, Reason.TOKEN_WRONG_AUDIENCE),
        ({"aud": None}, Reason.TOKEN_WRONG_AUDIENCE),
        ({"aud": [AUDIENCE, 1]}, Reason.TOKEN_CLAIMS_INVALID),
        ({"sub": None}, Reason.TOKEN_CLAIMS_INVALID),
        ({"sub": ["alice"]}, Reason.TOKEN_CLAIMS_INVALID),
        ({"sub": "al\nice"}, Reason.TOKEN_CLAIMS_INVALID),
        ({"scope": ["read"]}, Reason.TOKEN_CLAIMS_INVALID),
        ({"scope": {"read": True}}, Reason.TOKEN_CLAIMS_INVALID),
        ({"token_type": "DPoP"}, Reason.TOKEN_CLAIMS_INVALID),
        ({"token_type": "refresh_token"}, Reason.TOKEN_CLAIMS_INVALID),
        ({"token_type": ["Bearer"]}, Reason.TOKEN_CLAIMS_INVALID),
        ({"token_use": "refresh_token"}, Reason.TOKEN_CLAIMS_INVALID),
        ({"typ": "Refresh"}, Reason.TOKEN_CLAIMS_INVALID),
        ({"typ": "ID"}, Reason.TOKEN_CLAIMS_INVALID),
        ({"cnf": {}}, Reason.TOKEN_CLAIMS_INVALID),
        ({"cnf": {"jkt": "x"}}, Reason.TOKEN_CLAIMS_INVALID),
        ({"cnf": "x"}, Reason.TOKEN_CLAIMS_INVALID),
        # Bound: it is never accepted as a plain bearer token.
        ({"cnf": {"x5t#S256": "A" * 43}}, Reason.TOKEN_CLAIMS_INVALID),
    ],
    ids=str,
)
async def test_an_answer_that_does_not_hold_refuses_the_token(
    tmp_path: Path, changes: dict[str, Any], expected: Reason
) -> None:
    async with stage(tmp_path, says(**changes)) as play:
        assert reason(await play.ask()) is expected
        assert reason(await play.ask()) is expected


@pytest.mark.parametrize(
    "changes", [{}, {"iss": "own"}, {"token_type": "bearer"}, {"token_type": None}, {"exp": None}]
)
async def test_an_answer_without_optional_members_is_accepted(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        own = {"iss": str(request.url.origin())} if "iss" in changes else changes
        return web.json_response(answer(**own))

    async with stage(tmp_path, handler) as play:
        assert isinstance(await play.ask(), Principal)


async def test_without_an_audience_the_kind_of_token_has_to_be_said(tmp_path: Path) -> None:
    async with stage(tmp_path, says(token_type=None, aud=None)) as play:
        play.configure(audiences=None)
        assert reason(await play.ask()) is Reason.TOKEN_CLAIMS_INVALID
    async with stage(tmp_path, says(token_type="Bearer", aud=None)) as play:
        play.configure(audiences=None)
        assert isinstance(await play.ask(), Principal)
    async with stage(tmp_path, says(token_type=None)) as play:
        play.configure(required_type="at+jwt")
        assert reason(await play.ask()) is Reason.TOKEN_CLAIMS_INVALID


async def test_a_longest_lifetime_needs_exp(tmp_path: Path) -> None:
    async with stage(tmp_path, says(exp=None)) as play:
        play.configure(max_lifetime=3600.0)
        assert reason(await play.ask()) is Reason.TOKEN_CLAIMS_INVALID
    async with stage(tmp_path, says()) as play:
        play.configure(max_lifetime=100.0)
        assert reason(await play.ask()) is Reason.TOKEN_CLAIMS_INVALID


DEEP = b'{"active": true, "a": ' + b"[" * 100 + b"]" * 100 + b"}"
HOSTILE: dict[str, Handler] = {
    "empty": says_bytes(b""),
    "no object": says_bytes(b"[true]"),
    "true alone": says_bytes(b"true"),
    "twice active": says_bytes(b'{"active": false, "active": true}'),
    "twice by escape": says_bytes(b'{"active": false, "\\u0061ctive": true}'),
    "NaN": says_bytes(b'{"active": true, "exp": NaN}'),
    "infinite": says_bytes(b'{"active": true, "exp": 1e999}'),
    "deep": says_bytes(DEEP),
    "not UTF-8": says_bytes(b'{"active": true, "sub": "\xff"}'),
    "byte order mark": says_bytes(b"\xef\xbb\xbf" + json.dumps(answer()).encode()),
    "surrogate": says_bytes(b'{"active": true, "sub": "\\ud800"}'),
    "huge": says_bytes(json.dumps(answer(pad="x" * MAX_ANSWER_BYTES)).encode()),
    "many members": says_bytes(json.dumps(answer(pad=[0] * 2000)).encode()),
    "HTML": says_bytes(json.dumps(answer()).encode(), content_type="text/html"),
    "no type": says_bytes(json.dumps(answer()).encode(), content_type="application/octet-stream"),
    "JWT": says_bytes(b"e30.e30.e30", content_type="application/token-introspection+jwt"),
    "compressed": says_bytes(b"\x1f\x8b"),
    "201": says(201),
    "204": says_bytes(b"", status=204),
    "400": says(400),
    "404": says(404),
    "429": says(429),
    "500": says(500),
    "503": says(503),
    "401": says(401),
    "403": says(403),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_answer_neither_allows_nor_is_remembered(tmp_path: Path, name: str) -> None:
    async with stage(tmp_path, HOSTILE[name], says()) as play:
        assert reason(await play.ask()) is Reason.INTROSPECTION_UNAVAILABLE
        assert len(play.introspector.remembered) == 0
        assert isinstance(await play.ask(), Principal)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(tmp_path: Path, status: int) -> None:
    async with scripted(says()) as elsewhere:

        async def redirect(_: web.Request) -> web.StreamResponse:
            return web.Response(status=status, headers={"Location": f"{elsewhere.url}/introspect"})

        async with stage(tmp_path, redirect) as play:
            assert reason(await play.ask()) is Reason.INTROSPECTION_UNAVAILABLE
            assert elsewhere.requests == []


async def test_an_answer_counts_at_most_until_exp_and_for_its_bound(tmp_path: Path) -> None:
    async with stage(tmp_path, says(), says(active=False)) as play:
        assert isinstance(await play.ask(), Principal)
        play.now += 59.9
        assert isinstance(play.judge(), Principal)
        play.now += 0.2
        assert isinstance(play.judge(), NeedsIntrospection)
        assert reason(await play.ask()) is Reason.TOKEN_INACTIVE
    async with stage(tmp_path, says(exp=int(NOW) + 10)) as play:
        assert isinstance(await play.ask(), Principal)
        play.now += 9.9
        assert isinstance(play.judge(), Principal)
        play.now += 0.2
        assert isinstance(play.judge(), NeedsIntrospection)


async def test_a_refusal_counts_briefly(tmp_path: Path) -> None:
    async with stage(tmp_path, says(active=False), says()) as play:
        assert reason(await play.ask()) is Reason.TOKEN_INACTIVE
        play.now += 4.9
        assert reason(await play.ask()) is Reason.TOKEN_INACTIVE
        assert len(play.server.requests) == 1
        play.now += 0.2
        assert isinstance(await play.ask(), Principal)


async def test_with_a_bound_of_zero_every_request_asks(tmp_path: Path) -> None:
    async with stage(tmp_path, says()) as play:
        play.configure(introspection=IntrospectionRule(0.0))
        for number in range(1, 4):
            assert isinstance(await play.ask(), Principal)
            assert len(play.server.requests) == number


async def test_a_changed_configuration_forgets_answers(tmp_path: Path) -> None:
    async with stage(tmp_path, says()) as play:
        assert isinstance(await play.ask(), Principal)
        play.configure(audiences=("another",))
        assert isinstance(play.judge(), NeedsIntrospection)
        assert reason(await play.ask()) is Reason.TOKEN_WRONG_AUDIENCE
