"""Every kind of secret is made, used, mistaken and ended, and is stored nowhere afterwards.

PostgreSQL logs every statement with its parameters meanwhile: not even there.
"""

import asyncio
import base64
import contextlib
import http.client
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

import asyncpg
import pytest

from extauthz.demo.processes import LOOPBACK
from tests.command_line import run_extauthz
from tests.e2e.tenant_doors import DOORS, HOST, TOKEN
from tests.e2e.tenant_firms import Firm
from tests.e2e.tenant_mesh import TenantMesh, tenant_mesh
from tests.integration.database_dump import dump_of
from tests.integration.serving import ADMIN_KEY
from tests.secret_traces import found, traces
from tests.tokens import SigningKey

KEYS = "/api/v1/service-api-keys"
SCOPES = [
    ["check"], ["identity"], ["policies:read"], ["policies:write"], ["audit:read"], ["keys:write", "check"],
]  # fmt: skip
LOGGING = (
    "ALTER SYSTEM SET log_statement = 'all'",
    "ALTER SYSTEM SET log_min_duration_statement = 0",
    "ALTER SYSTEM SET log_parameter_max_length = -1",
    "ALTER SYSTEM SET log_parameter_max_length_on_error = -1",
    "SELECT pg_reload_conf()",
)


@dataclass
class Caller:
    """Asks the REST API with any headers, and keeps every answer."""

    port: int
    answers: bytes = b""
    refusals: int = 0

    def ask(
        self,
        method: str,
        path: str,
        document: object = None,
        *,
        credential: Mapping[str, str] = MappingProxyType({}),
        kept: bool = True,
    ) -> Any:
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=10)
        body = None if document is None else json.dumps(document)
        content = {} if body is None else {"content-type": "application/json"}
        with contextlib.closing(connection):
            connection.request(method, path, body, dict(credential) | content)
            response = connection.getresponse()
            raw = response.read()
        if kept:
            self.answers += str(response.headers).encode() + raw
        self.refusals += response.status >= 400
        return json.loads(raw) if raw.startswith((b"{", b"[")) else raw


@dataclass
class Made:
    """The secrets of the test: what is secret of each, and the whole of what is presented."""

    hidden: dict[str, str] = field(default_factory=dict)
    presented: dict[str, str] = field(default_factory=dict)

    def key(self, name: str, text: str) -> None:
        self.hidden[name], self.presented[name] = text.rpartition("_")[2], text

    def token(self, name: str, text: str) -> None:
        self.hidden[name], self.presented[name] = text.rpartition(".")[2], text


def secrets_of(mesh: TenantMesh, caller: Caller) -> Made:
    """Make secrets of every kind; what an answer shows once is not among the answers that are searched."""
    made = Made({"admin key": ADMIN_KEY}, {"admin key": ADMIN_KEY})
    operator = {"X-Admin-Api-Key": ADMIN_KEY}
    for name in ("session", "ended session"):
        made.key(name, caller.ask("POST", "/admin/session", kept=False, credential=operator)["token"])
    ended = {"Authorization": f"Bearer {made.presented['ended session']}"}
    caller.ask("DELETE", "/admin/session", credential=ended)
    for firm in mesh.firms.values():
        made.key(f"bootstrap key of {firm.slug}", firm.bootstrap)
        made.key(f"robot of {firm.slug}", firm.robot)
    acme, globex = mesh.firms["acme"], mesh.firms["globex"]
    rotated = caller.ask("POST", "/admin/tenants/globex/bootstrap-key", kept=False, credential=operator)
    made.key("rotated bootstrap key", rotated["bootstrapKey"])
    caller.ask("DELETE", "/admin/tenants/initech/bootstrap-key", credential=operator)
    by_bootstrap = {"X-Service-Api-Key": acme.bootstrap}
    for scopes in SCOPES:
        document = {"name": "robot", "description": "makes no secrets", "scopes": scopes}
        key = caller.ask("POST", KEYS, document, kept=False, credential=by_bootstrap)
        made.key(f"key for {scopes}", key["key"])
    registrar = {"name": "r", "scopes": ["resources:write"], "service_name": "shop", "prefixes": ["/shop"]}
    made.key("registrar", caller.ask("POST", KEYS, registrar, kept=False, credential=by_bootstrap)["key"])
    parent = {"X-Service-Api-Key": made.presented[f"key for {SCOPES[-1]}"]}
    child = caller.ask("POST", KEYS, {"name": "child", "scopes": ["check"]}, kept=False, credential=parent)
    made.key("key of a key", child["key"])
    revoked = caller.ask(
        "POST", KEYS, {"name": "gone", "scopes": ["identity"]}, kept=False, credential=by_bootstrap
    )
    made.key("revoked key", revoked["key"])
    caller.ask("DELETE", f"{KEYS}/{revoked['id']}", credential=by_bootstrap)
    now = int(time.time())
    for firm in (acme, globex):
        made.token(f"token of {firm.slug}", firm.token("alice"))
        made.token(f"admin of {firm.slug}", firm.token("root", adm="*"))
        made.token(f"expired of {firm.slug}", firm.token("alice", exp=now - 60))
        made.token(f"forged of {firm.slug}", firm.token("alice", signing=SigningKey.es256("key", serial=99)))
    return made


def present(mesh: TenantMesh, caller: Caller, made: Made) -> None:
    """Present each of them in every place for credentials, as it is and altered by one character."""
    for text in list(made.presented.values()):
        basic = base64.b64encode(f"alice:{text}".encode()).decode()
        for credential in (
            {"X-Service-Api-Key": text}, {"X-Admin-Api-Key": text}, {"Authorization": f"Bearer {text}"},
            {"Authorization": f"Basic {basic}"}, {"Authorization": text}, {"Cookie": f"session={text}"},
            {"X-Service-Api-Key": text[:-1] + "0"}, {"Authorization": f"Bearer {text[:-1]}0"},
            {"X-Service-Api-Key": text, "X-Admin-Api-Key": text},
        ):  # fmt: skip
            caller.ask("GET", KEYS, credential=credential)
            # Where no secret belongs, it is not understood.
            caller.ask("POST", KEYS, {"name": "x", "scopes": ["check"], "key": text}, credential=credential)
        for credential in ({"X-Service-Api-Key": text}, {"Authorization": f"Bearer {text}"}):
            caller.ask("GET", "/admin/tenants", credential=credential)
            caller.ask(
                "POST", "/api/v1/check", {"resource": "order:read", "action": "read"}, credential=credential
            )
        for slug, door in zip(("acme", "globex", "acme"), DOORS, strict=True):
            through_envoy(mesh, mesh.firms[slug], door, text, basic)


def through_envoy(mesh: TenantMesh, firm: Firm, door: str, text: str, basic: str) -> None:
    secret = text.encode()
    for lines in (
        (b"x-service-api-key: " + secret,), (b"authorization: Bearer " + secret,),
        (b"authorization: Basic " + basic.encode(),), (b"authorization: " + secret,),
        (b"cookie: a=" + secret,), (b"x-service-api-key: " + secret[:-1] + b"0",),
        (b"authorization: Bearer " + secret[:-1] + b"0",),
        (b"x-service-api-key: " + secret, b"authorization: Bearer " + secret),
        (b"proxy-authorization: Bearer " + secret, b"x-auth-token: " + secret),
    ):  # fmt: skip
        mesh.ask(firm.host, *lines, door=door)
    mesh.ask(firm.host, path=f"/orders/7?access_token={text}&key={text}", door=door)
    mesh.ask(firm.host, path=f"/nowhere?{text}", door=door)


def places_of(mesh: TenantMesh, caller: Caller, folder: Path) -> dict[str, bytes]:
    """Return everything that is kept of what happened, and what others on the machine may see."""
    serve, sidecar = mesh.sidecars[HOST], mesh.sidecars[TOKEN]
    ports = {"control plane": serve.rest_port, "workers": serve.sidecar_port, "sidecar": sidecar.sidecar_port}
    shown = {f"metrics of the {name}": Caller(port).ask("GET", "/metrics") for name, port in ports.items()}
    shown["command lines"] = b"".join(
        Path(f"/proc/{process}/cmdline").read_bytes()
        for each in mesh.sidecars.values()
        for process in each.process.family()
    )
    shown["database"] = asyncio.run(dump_of(mesh.postgres.superuser_dsn))
    shown["database log"] = mesh.postgres.log.read_bytes()
    shown["answers"] = caller.answers
    doctor = run_extauthz("doctor", "--json", environ=serve.environ)
    shown["doctor"] = (doctor.stdout + doctor.stderr).encode()
    return shown


async def _execute(dsn: str, statements: tuple[str, ...]) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


def test_the_search_for_secrets_finds_planted_ones() -> None:
    secret = "00ff10a4c5" * 6 + "abcd"
    octets = bytes.fromhex(secret)
    for hidden in (secret.encode(), octets, secret.encode().hex().encode(), octets.hex().upper().encode()):
        assert found({"it": secret}, {"there": b"..." + hidden + b"..."})
    for before, text in product(range(4), (secret.encode(), octets)):
        plain = b"x" * before + text + b"yz"
        for encoded in (base64.b64encode(plain), base64.urlsafe_b64encode(plain)):
            assert found({"it": secret}, {"there": encoded}), before
    assert not found({"it": secret}, {"there": secret[1:].encode()})
    assert all(len(trace) > 30 for trace in traces(secret))


@pytest.mark.timeout(300)
def test_no_secret_is_kept_anywhere(tmp_path: Path) -> None:
    with tenant_mesh(tmp_path, LOG_LEVEL="debug") as mesh:
        asyncio.run(_execute(mesh.postgres.superuser_dsn, LOGGING))
        caller = Caller(mesh.sidecars[HOST].rest_port)
        made = secrets_of(mesh, caller)
        made.hidden["database password"] = mesh.postgres.environment["POSTGRES_PASSWORD"]
        present(mesh, caller, made)
        operator = {"X-Admin-Api-Key": ADMIN_KEY}
        admin = {"Authorization": f"Bearer {made.presented['admin of acme']}"}
        for path, credential in (
            (KEYS, admin), ("/api/v1/audit?limit=1000", admin), ("/api/v1/role-bindings", admin),
            ("/admin/tenants", operator), ("/admin/tenants/acme", operator),
            ("/admin/tenants/acme/identity-providers", operator), ("/openapi.json", {}), ("/docs", {}),
        ):  # fmt: skip
            caller.ask("GET", path, credential=credential)
        places = places_of(mesh, caller, tmp_path)
    # Their output until the end, and the files that remain.
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    places |= {str(file.relative_to(tmp_path)): file.read_bytes() for file in files}

    assert caller.refusals > 500
    for place, mark in {
        "database": b"order:read", "database log": b"INSERT INTO service_api_keys",
        "answers": b"api_key_invalid",
        "metrics of the control plane": b"extauthz_", "metrics of the workers": b"extauthz_",
        "metrics of the sidecar": b"extauthz_", "command lines": b"extauthz", "doctor": b"{",
        "host/extauthz.log": b"policies_published", "token/extauthz.log": b"policies_published",
        "host/decisions.jsonl": b'"event":"decision"', "token/decisions.jsonl": b'"event":"decision"',
        "envoy.log": b"tenant_mismatch", "envoy.yaml": b"ext_authz",
    }.items():  # fmt: skip
        assert mark in places[place], place
    assert b"Parameters: $1 = " in places["database log"]
    assert len(made.hidden) > 25
    assert found(made.hidden, places) == []
    # Whole ones, too, in case what is secret of them was cut.
    assert [(name, place) for name, text in made.presented.items() for place, content in places.items()
            if text.encode() in content] == []  # fmt: skip
