"""An issuer that hangs while many opaque tokens arrive: others are answered, and deadlines are kept."""

import asyncio
import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from extauthz.demo.processes import LOOPBACK, ReservedPorts
from tests.integration.serving import Serving, serving
from tests.key_server import KeyServer
from tests.key_server_thread import identity_provider
from tests.tokens import AUDIENCE, SigningKey, claims
from tests.waiting import await_true

KEY = SigningKey.es256("issuer")
TOKENS = 30
DEADLINE_S = 2.0
HANGS_S = 30.0
SLACK_S = 1.5
"""For a machine that does other things as well."""
POLICIES = {
    "resources": [{"name": "all:use", "serviceName": "all", "routes": [{"methods": ["*"], "path": "/**"}]}],
    "role_rules": [
        {"id": "authenticated", "sub": "*", "dom": "*", "obj": "all:use", "act": "*", "effect": "allow"}
    ],
}


class Hanging:
    """Publishes a key, and answers questions about tokens only when it is let."""

    def __init__(self, server: KeyServer) -> None:
        self.server = server
        self.answers = threading.Event()
        server.handler = self.handle

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return await self.server.serve_keys(request)
        await asyncio.to_thread(self.answers.wait, HANGS_S)
        said = {"active": True, "sub": "alice", "aud": AUDIENCE, "token_type": "Bearer"}
        return web.json_response(said)


@contextmanager
def sidecar(folder: Path, issuer: str, **settings: str) -> Iterator[Serving]:
    (folder / "policies").mkdir()
    (folder / "policies" / "all.json").write_text(json.dumps(POLICIES))
    (folder / "secret").write_text("secret")
    introspection = {
        "endpoint": f"{issuer}/introspect",
        "client_id": "gateway",
        "client_secret_file": "secret",
        "timeout": 3,
    }
    provider = {"issuer": issuer, "audiences": [AUDIENCE], "introspection": introspection}
    (folder / "providers.yaml").write_text(json.dumps({"providers": [provider]}))
    with serving(
        folder,
        {"POLICY_SOURCE": f"files:{folder / 'policies'}", **settings},
        OIDC_ENABLED="true",
        IDENTITY_PROVIDERS=str(folder / "providers.yaml"),
    ) as found:
        found.start("sidecar")
        yield found


class Late:
    """Says of a token that is about to expire that it is active, and answers after it has expired."""

    def __init__(self, server: KeyServer) -> None:
        self.server = server
        server.handler = self.handle

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return await self.server.serve_keys(request)
        expires_at = int(time.time()) + 1
        await asyncio.sleep(expires_at + 0.1 - time.time())
        said = {"active": True, "sub": "alice", "aud": AUDIENCE, "token_type": "Bearer", "exp": expires_at}
        return web.json_response(said)


def jwt(issuer: str, number: int) -> str:
    now = int(time.time())
    return KEY.sign(claims(iss=issuer, iat=now - 5, exp=now + 600, number=number))


@pytest.mark.parametrize("server", ["native", "grpcio"])
def test_an_issuer_that_hangs_delays_no_other_check_and_no_answer_past_its_deadline(
    tmp_path: Path, server: str
) -> None:
    with identity_provider(KEY) as keys:
        provider = Hanging(keys)
        with (
            sidecar(tmp_path, keys.issuer, GRPC_SERVER=server) as found,
            ThreadPoolExecutor(TOKENS) as clients,
        ):

            def ask(token: str) -> tuple[str, float]:
                began = time.monotonic()
                answer = found.check(
                    path="/x", headers={"authorization": f"Bearer {token}"}, timeout=DEADLINE_S
                )
                reason = "no answer" if answer is None else str(answer.metadata["reason"])
                return reason, time.monotonic() - began

            assert ask(jwt(keys.issuer, 0))[0] == "rule_matched"
            asking = [clients.submit(ask, f"opaque-{number}") for number in range(TOKENS)]
            await_true(lambda: keys.requests["/introspect"] > 0, within=10, what="a question")
            for number in range(10):
                reason, took_s = ask(jwt(keys.issuer, number))
                assert reason == "rule_matched"
                assert took_s < SLACK_S
            reasons = Counter(each.result()[0] for each in asking)
            assert reasons.keys() <= {"introspection_unavailable", "overloaded", "deadline"}, reasons
            assert reasons["introspection_unavailable"] > 0
            assert keys.requests["/introspect"] <= 16
            provider.answers.set()
            await_true(lambda: ask("another")[0] == "rule_matched", within=15, what="an answer again")


def test_the_http_entrance_answers_others_meanwhile(tmp_path: Path) -> None:
    ports = ReservedPorts()
    (port,) = ports.take()
    with identity_provider(KEY) as keys:
        provider = Hanging(keys)
        with (
            sidecar(tmp_path, keys.issuer, HTTP_AUTHZ_PORT=str(port)),
            ThreadPoolExecutor(TOKENS) as clients,
        ):

            def ask(token: str) -> tuple[int, float]:
                began = time.monotonic()
                connection = http.client.HTTPConnection(LOOPBACK, port, timeout=10)
                connection.request("GET", "/x", headers={"Authorization": f"Bearer {token}"})
                status = connection.getresponse().status
                connection.close()
                return status, time.monotonic() - began

            assert ask(jwt(keys.issuer, 0))[0] == 200
            asking = [clients.submit(ask, f"opaque-{number}") for number in range(TOKENS)]
            await_true(lambda: keys.requests["/introspect"] > 0, within=10, what="a question")
            for number in range(10):
                status, took_s = ask(jwt(keys.issuer, number))
                assert status == 200
                assert took_s < SLACK_S
            assert {each.result()[0] for each in asking} == {403}
            provider.answers.set()
            await_true(lambda: ask("another")[0] == 200, within=15, what="an answer again")
    ports.release()


@pytest.mark.parametrize("server", ["native", "grpcio"])
def test_a_token_that_expires_while_its_issuer_is_asked_is_refused(tmp_path: Path, server: str) -> None:
    with identity_provider(KEY) as keys:
        Late(keys)
        with sidecar(tmp_path, keys.issuer, GRPC_SERVER=server, TOKEN_LEEWAY="0") as found:
            answer = found.check(path="/x", headers={"authorization": "Bearer opaque"}, timeout=10)
            assert answer is not None
            assert answer.metadata["reason"] == "token_expired"
