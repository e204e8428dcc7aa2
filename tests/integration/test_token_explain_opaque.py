"""`extauthz token explain`, `token verify` and `doctor` with opaque tokens, against a real HTTP server."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from tests.command_line import run_extauthz
from tests.integration.serving import finished
from tests.key_server import KeyServer
from tests.key_server_thread import identity_provider
from tests.light_processes import LIGHT
from tests.tokens import AUDIENCE, SigningKey, claims

if TYPE_CHECKING:
    import subprocess

KEY = SigningKey.es256("issuer")
SECRET = "a-secret-of-this-client"
TOKEN = "an-opaque-token-of-alice"


class Issuer:
    """Publishes a key, and knows one token; other members of its answer may be set."""

    def __init__(self, server: KeyServer) -> None:
        self.server = server
        self.changes: dict[str, object] = {}
        self.status = 200
        server.handler = self.handle

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            return await self.server.serve_keys(request)
        form = await request.post()
        if self.status != 200:
            return web.json_response({"error": "invalid_client"}, status=self.status)
        if form["token"] != TOKEN:
            return web.json_response({"active": False} | self.changes)
        now = int(time.time())
        usual = {"active": True, "sub": "alice", "aud": AUDIENCE, "exp": now + 600, "scope": "read"}
        return web.json_response(usual | self.changes)


@dataclass
class Service:
    folder: Path
    issuer: Issuer

    @property
    def file(self) -> Path:
        return self.folder / "providers.yaml"

    def run(self, *arguments: str, text: str = "", **environ: str) -> "subprocess.CompletedProcess[str]":
        answer = run_extauthz(*arguments, environ=environ, stdin=text.encode())
        for secret in (SECRET, TOKEN):
            assert secret not in answer.stdout + answer.stderr
        return answer

    def explain(self, text: str, *arguments: str) -> dict[str, tuple[str, str]]:
        answer = self.run("token", "explain", "--json", "--providers", str(self.file), *arguments, text=text)
        document = json.loads(answer.stdout)
        assert answer.returncode == (0 if document["accepted"] else 1), answer
        found = {step["check"]: (step["verdict"], step["detail"]) for step in document["steps"]}
        return found | {"": ("ok" if document["accepted"] else "refused", document["reason"])}


def write(folder: Path, issuer: str, **changes: object) -> None:
    (folder / "secret").write_text(SECRET)
    introspection = {
        "endpoint": f"{issuer}/introspect",
        "client_id": "gateway",
        "client_secret_file": "secret",
        "timeout": 3,
        **changes,
    }
    provider = {
        "issuer": issuer,
        "audiences": [AUDIENCE],
        "roles": [{"claim": "scope", "shape": "space"}],
        "introspection": introspection,
    }
    (folder / "providers.yaml").write_text(json.dumps({"providers": [provider]}))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with identity_provider(KEY) as server:
        write(tmp_path, server.issuer)
        yield Service(tmp_path, Issuer(server))


def test_an_accepted_opaque_token_is_explained(service: Service) -> None:
    found = service.explain(f"Bearer {TOKEN}\n")
    assert {verdict for verdict, _ in found.values()} == {"ok"}
    assert found["form"][1] == f"opaque, {len(TOKEN)} characters"
    assert found["provider"][1].endswith("of tenant 'default', which introspects")
    assert "as client 'gateway' by client_secret_basic" in found["introspection"][1]
    assert found["claims"][1] == "named: active, aud, exp, scope, sub"
    assert found["subject"][1] == "alice from sub"
    assert found["roles"][1] == "read from scope (space)"


def test_each_fault_of_an_answer_is_explained(service: Service) -> None:
    service.issuer.changes = {"iss": "https://another.example", "aud": "x", "exp": 1000, "scope": 1}
    found = service.explain(TOKEN)
    refused = {check for check, (verdict, _) in found.items() if verdict == "refused"}
    assert refused == {"answer", "audience", "dates", "roles", ""}
    assert found[""][1].startswith("token_unknown_issuer")
    service.issuer.changes = {}
    found = service.explain("another-token")
    assert found["introspection"][1].startswith("not active; asked ")
    assert found[""][1].startswith("token_inactive")
    service.issuer.status = 401
    found = service.explain(TOKEN)
    assert found["introspection"][1].startswith("client_refused: status 401, error invalid_client")
    assert found[""][1].startswith("introspection_unavailable")
    assert service.explain("no token")["form"][0] == "refused"


def test_a_jwt_is_explained_by_its_keys_or_by_its_issuer(service: Service) -> None:
    now = int(time.time())
    token = KEY.sign(claims(iss=service.issuer.server.issuer, iat=now - 5, exp=now + 600, scope="read"))
    assert service.explain(token)["signature"] == ("ok", "it verifies")
    write(service.folder, service.issuer.server.issuer, tokens="all")
    found = service.explain(token)
    assert found["signature"][0] == "not judged"
    assert found["introspection"][1].startswith("not active")


def test_of_several_tenants_one_has_to_be_named(service: Service) -> None:
    document = json.loads(service.file.read_text())
    (one,) = document["providers"]
    two = {**one, "issuer": "https://globex.example", "tenant": "globex"}
    document["providers"] = [{**one, "tenant": "acme"}, two]
    service.file.write_text(json.dumps(document))
    settings = service.folder / "service.env"
    settings.write_text(f"MODE=saas\nIDENTITY_PROVIDERS={service.file}\nADMIN_API_KEY={'k' * 40}\n")

    def explain(*arguments: str) -> str:
        answer = service.run("token", "explain", "--settings", str(settings), *arguments, text=TOKEN)
        assert answer.returncode in (0, 1), answer
        return answer.stdout

    assert "say --tenant, one of acme, globex" in explain()
    assert 'user.tenant = "acme"' in explain("--tenant", "acme")
    assert "no provider of tenant 'other' introspects" in explain("--tenant", "other")


def test_opaque_tokens_are_verified_by_the_settings_of_a_service(service: Service) -> None:
    settings = service.folder / "service.env"
    settings.write_text(f"IDENTITY_PROVIDERS={service.file}\n")
    service.issuer.changes = {"score": 1.25, "nested": {"a": [True, None, "x"]}}
    answer = service.run("token", "verify", "--settings", str(settings), text=f"{TOKEN}\nanother\na b\n")
    assert answer.returncode == 0, answer
    verdicts = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [each["reason"] for each in verdicts] == ["ok", "token_inactive", "token_malformed"]
    assert verdicts[0]["claims"]["sub"] == "alice"
    assert verdicts[0]["claims"]["score"] == 1.25
    assert verdicts[0]["claims"]["nested"] == {"a": [True, None, "x"]}


def doctor(service: Service) -> dict[str, tuple[str, str]]:
    answer = service.run("doctor", "--json", IDENTITY_PROVIDERS=str(service.file))
    findings = json.loads(answer.stdout)["findings"]
    return {
        each["code"]: (each["severity"], each["message"])
        for each in findings
        if each["code"].startswith("introspection")
    }


def test_doctor_asks_as_the_service_does(service: Service) -> None:
    found = doctor(service)
    assert set(found) == {"introspection-plaintext"}
    service.issuer.status = 401
    assert "invalid_client" in doctor(service)["introspection-unavailable"][1]
    service.issuer.status = 200
    service.issuer.changes = {"active": True}
    assert doctor(service)["introspection-always-active"][0] == "error"
    service.issuer.changes = {"active": "no"}
    assert doctor(service)["introspection-unavailable"][0] == "error"
    write(service.folder, service.issuer.server.issuer, endpoint="http://127.0.0.1:1/introspect")
    assert "unreachable" in doctor(service)["introspection-unavailable"][1]


def test_no_service_starts_where_the_token_would_have_to_name_its_tenant(service: Service) -> None:
    document = json.loads(service.file.read_text())
    document["providers"][0]["tenant"] = "acme"
    service.file.write_text(json.dumps(document))
    started = finished(
        "sidecar",
        environ={
            **LIGHT,
            "MODE": "saas",
            "TENANT_BINDING": "token",
            "IDENTITY_PROVIDERS": str(service.file),
            "POSTGRES_PASSWORD": "unused",
            "ADMIN_API_KEY": "k" * 40,
            "DECISION_LOG": "/dev/null",
            "SIDECAR_PORT": "0",
        },
    )
    assert started.returncode == 2, started
    assert "/providers/0/introspection: cannot be used with TENANT_BINDING=token" in started.stderr
