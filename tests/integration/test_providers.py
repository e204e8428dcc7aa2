"""Tokens of every documented provider (`tests/providers/`), each with its keys over HTTP, at a real sidecar.

All providers are in one file of IDENTITY_PROVIDERS, so that none is accepted by the rules of another.
"""

import json
import time
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, unquote

import pytest
import yaml
from aiohttp import web

from tests.builders import Answer
from tests.integration.serving import Serving, serving
from tests.key_server_thread import identity_provider
from tests.tokens import SigningKey, claims, jwks

FOLDER = Path(__file__).parent.parent / "providers"
NAMES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
DOCUMENTS: dict[str, Any] = {name: yaml.safe_load((FOLDER / f"{name}.yaml").read_text()) for name in NAMES}
CASES = [(name, case["name"]) for name in NAMES for case in DOCUMENTS[name]["cases"]]
USUAL_LIFETIME_S = 600
POLICIES = {
    "resources": [{"name": "all:use", "serviceName": "all", "routes": [{"methods": ["*"], "path": "/**"}]}],
    "role_rules": [
        {"id": "authenticated", "sub": "*", "dom": "*", "obj": "all:use", "act": "*", "effect": "allow"}
    ],
}


def key_of(name: str) -> SigningKey:
    return SigningKey.of(DOCUMENTS[name]["key"]["algorithm"], f"{name}-key")


class KeyPlaces:
    """Answers for every provider, below its name: discovery documents and key sets."""

    def __init__(self, origin: str) -> None:
        self._origin = origin

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        path = unquote(request.path)
        name = path.split("/")[1]
        key = DOCUMENTS[name]["key"]
        if path.endswith("/introspect"):
            return await self._introspect(request, name)
        if "bearer_token" in key and request.headers.get("Authorization") != f"Bearer {key['bearer_token']}":
            return web.Response(status=401)
        if path.endswith("/.well-known/openid-configuration"):
            issuer = issuer_of(name, self._origin)
            place = f"{self._origin}/{name}"
            return web.json_response(
                {
                    "issuer": issuer,
                    "jwks_uri": f"{place}/keys",
                    "introspection_endpoint": f"{place}/introspect",
                }
            )
        entry = key_of(name).jwk(
            alg=None if key.get("without_alg") else key["algorithm"], use=key.get("use", "sig")
        )
        return web.Response(body=jwks(entry), content_type="application/json")

    async def _introspect(self, request: web.Request, name: str) -> web.StreamResponse:
        introspection = DOCUMENTS[name]["provider"]["introspection"]
        secret = quote_plus(DOCUMENTS[name]["key"]["client_secret"])
        client = f"{quote_plus(introspection['client_id'])}:{secret}".encode()
        if request.headers.get("Authorization") != f"Basic {b64encode(client).decode()}":
            return web.json_response({"error": "invalid_client"}, status=401)
        token = (await request.post())["token"]
        for case in DOCUMENTS[name]["cases"]:
            if case.get("opaque") == token:
                usual = said_of(name, case, self._origin) if case["claims"]["active"] else {}
                return web.json_response(usual | case["claims"])
        return web.json_response({"active": False})


def said_of(name: str, case: dict[str, Any], origin: str) -> dict[str, Any]:
    """Return what every token of the provider says; a member of None is left out."""
    now = int(time.time())
    issuer = case.get("issuer", DOCUMENTS[name].get("issuer_of_tokens", ""))
    if issuer is not None:
        issuer = (issuer or DOCUMENTS[name]["provider"]["issuer"]).replace("{server}", f"{origin}/{name}")
    return {"iss": issuer, "iat": now - 5, "exp": now + case.get("lifetime_s", USUAL_LIFETIME_S)}


def issuer_of(name: str, origin: str) -> str:
    document = DOCUMENTS[name]
    issuer: str = document.get("issuer_of_tokens") or document["provider"]["issuer"]
    return issuer.replace("{server}", f"{origin}/{name}")


@dataclass(frozen=True)
class Providers:
    """A sidecar that accepts the tokens of every provider."""

    origin: str
    sidecar: Serving

    def ask(self, name: str, case: dict[str, Any]) -> Answer:
        usual = {"sub": None, "aud": None} | said_of(name, case, self.origin)
        header = {"typ": case["type"]} if "type" in case else {}
        token = case.get("opaque") or key_of(name).sign(claims(**(usual | case["claims"])), **header)
        return self.sidecar.settled(path="/x", headers={"authorization": f"Bearer {token}"})


@pytest.fixture(scope="module")
def providers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Providers]:
    folder = tmp_path_factory.mktemp("providers")
    (folder / "policies").mkdir()
    (folder / "policies" / "all.json").write_text(json.dumps(POLICIES))
    with identity_provider() as server:
        server.handler = KeyPlaces(server.issuer)
        entries = [
            json.loads(json.dumps(document["provider"]).replace("{server}", f"{server.issuer}/{name}"))
            for name, document in DOCUMENTS.items()
        ]
        (folder / "providers.yaml").write_text(json.dumps({"providers": entries}))
        for document in DOCUMENTS.values():
            token_file = document["provider"].get("jwks_token_file")
            if token_file is not None:
                (folder / token_file).write_text(document["key"]["bearer_token"])
            introspection = document["provider"].get("introspection")
            if introspection is not None:
                (folder / introspection["client_secret_file"]).write_text(document["key"]["client_secret"])
        with serving(
            folder,
            {"POLICY_SOURCE": f"files:{folder / 'policies'}"},
            OIDC_ENABLED="true",
            IDENTITY_PROVIDERS=str(folder / "providers.yaml"),
        ) as sidecar:
            sidecar.start("sidecar")
            yield Providers(server.issuer, sidecar)


@pytest.mark.parametrize(("name", "case_name"), CASES)
def test_a_token_is_read_as_the_page_of_its_provider_documents(
    providers: Providers, name: str, case_name: str
) -> None:
    (case,) = [each for each in DOCUMENTS[name]["cases"] if each["name"] == case_name]
    answer = providers.ask(name, case)
    if "reason" in case:
        assert answer.metadata["reason"] == case["reason"]
        assert not answer.allowed
        return
    assert answer.allowed, answer
    expected = case["principal"]
    roles = [unquote(role) for role in answer.headers.get("x-auth-roles", "").split(",") if role]
    assert {
        "kind": answer.headers["x-auth-kind"],
        "subject": unquote(answer.headers["x-auth-subject"]),
        "roles": roles,
        "domain": answer.headers.get("x-auth-domain"),
    } == expected


@pytest.mark.parametrize("name", NAMES)
def test_a_token_with_the_key_of_another_provider_is_refused(providers: Providers, name: str) -> None:
    """The case is the first of the provider; its signature is that of a key which the provider lacks."""
    now = int(time.time())
    said = {"iss": issuer_of(name, providers.origin), "iat": now - 5, "exp": now + USUAL_LIFETIME_S}
    forger = SigningKey.of(DOCUMENTS[name]["key"]["algorithm"], f"{name}-key", serial=1)
    token = forger.sign(claims(**(said | {"sub": None, "aud": None} | DOCUMENTS[name]["cases"][0]["claims"])))
    answer = providers.sidecar.settled(path="/x", headers={"authorization": f"Bearer {token}"})
    assert answer is not None
    assert not answer.allowed
    assert answer.status == 401
