"""Providers of the settings and of the file IDENTITY_PROVIDERS as they are signed."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
import yaml

from extauthz.decide.tokens.jwks import KeySet, parse_jwks
from extauthz.decide.tokens.keyring import IssuerConfig
from extauthz.keys.cache import JwksCache
from extauthz.publish.config_additions import Additions
from extauthz.runtime.issuers import Issuers, registered_sources
from extauthz.runtime.signed_providers import SignedAdditions
from extauthz.settings import Settings, load_settings
from extauthz.storage.encoding import decode_json, encode_json
from tests.tokens import SigningKey, jwks
from tests.unit.runtime.test_signed_keys import NoProvider

FOLDER = Path(__file__).parents[2] / "providers"
PINNED = "ed25519:" + "A" * 43 + "="
SECRETS = {"jwks_token_file": "token.txt", "ca_file": "ca.pem", "jwks_proxy": "http://user:secret@proxy:3128"}


def settings(**environ: str) -> Settings:
    found = load_settings({"OIDC_ENABLED": "true"} | environ, serving=False)
    assert isinstance(found, Settings), found
    return found


def additions(folder: Path, *entries: Any, **environ: str) -> tuple[SignedAdditions, JwksCache]:
    """Return what is signed of a file with these entries."""
    for name in ("token.txt", "ca.pem", "secret.txt"):
        (folder / name).write_text("secret text")
    (folder / "keys.json").write_bytes(jwks(SigningKey.rs256("file")))
    (folder / "providers.yaml").write_text(json.dumps({"providers": entries}))
    known = settings(IDENTITY_PROVIDERS=str(folder / "providers.yaml"), **environ)
    cache = JwksCache(NoProvider())
    return SignedAdditions(known, Issuers(known, cache), cache), cache


def signed(found: Additions) -> list[dict[str, Any]]:
    return [dict(each.document) for each in found.providers]


def followed(found: Additions, **environ: str) -> list[IssuerConfig]:
    """Return what a follower makes of what was signed, through its JSON text."""
    own = settings(POLICY_SOURCE="https://policies.example.com", POLICY_PUBLIC_KEYS=PINNED, **environ)
    again = []
    for each in found.providers:
        document = decode_json(encode_json(each.document))
        assert isinstance(document, dict)
        again.append(replace(each, document=document))
    return [source.config for source in registered_sources(own, again)]


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.yaml")))
def test_followers_read_each_documented_provider_as_the_control_plane_does(tmp_path: Path, name: str) -> None:
    text = (FOLDER / f"{name}.yaml").read_text().replace("{server}", "https://idp.example.com")
    entry = yaml.safe_load(text)["provider"]
    for member in ("jwks_token_file", "ca_file"):
        if member in entry:
            (tmp_path / entry[member]).write_text("secret text")
    if "introspection" in entry:
        (tmp_path / entry["introspection"]["client_secret_file"]).write_text("secret text")
    of_file, cache = additions(tmp_path, entry, ROLES_CLAIM="groups", DOMAIN_CLAIM="org")
    own = {name: known.config for name, known in cache.current().issuers.items()}
    issuers = [config for name, config in own.items() if name == config.issuer]
    # Followers have other defaults: those of the control plane come with the provider.
    found = followed(of_file.now()("default"), ROLES_CLAIM="other", DOMAIN_CLAIM="other")
    assert issuers
    expected = [replace(each, introspection=None) for each in issuers]
    assert sorted(found, key=str) == sorted(expected, key=str)


def test_no_file_proxy_or_secret_is_signed_and_the_log_names_the_members(tmp_path: Path) -> None:
    entry = {
        "issuer": "https://idp.example.com",
        "audiences": "any",
        "introspection": {"client_id": "me", "client_secret_file": "secret.txt"},
        **SECRETS,
    }
    with structlog.testing.capture_logs() as logs:
        of_file, _ = additions(tmp_path, entry)
        found = of_file.now()("default")
        of_file.now()
    text = encode_json(signed(found))
    for secret in ("secret", "token.txt", "ca.pem", "proxy:3128", "client_id", str(tmp_path)):
        assert secret not in text, secret
    (logged,) = [each for each in logs if each["event"] == "identity_provider_signed_in_part"]
    assert logged["left_out"] == ["ca_file", "introspection", "jwks_proxy", "jwks_token_file"]
    assert "secret" not in str(logged).replace("client_secret", "")


def test_an_issuer_that_is_asked_about_every_token_is_not_signed(tmp_path: Path) -> None:
    entry = {
        "issuer": "https://idp.example.com",
        "audiences": "any",
        "introspection": {
            "tokens": "all",
            "endpoint": "https://idp.example.com/introspect",
            "client_id": "me",
            "client_secret_file": "secret.txt",
        },
    }
    with structlog.testing.capture_logs() as logs:
        of_file, _ = additions(tmp_path, entry)
        assert signed(of_file.now()("default")) == []
    assert [each["event"] for each in logs] == ["identity_provider_not_signed"]


def test_keys_of_a_file_are_signed_while_they_are_usable(tmp_path: Path) -> None:
    issuer = "urn:issuer:of:file"
    of_file, cache = additions(
        tmp_path, {"issuer": issuer, "audiences": ["a"], "jwks_file": "keys.json"}, JWKS_MAX_STALENESS="60"
    )
    assert signed(of_file.now()("default")) == [], "the file is not read yet"
    for key in (SigningKey.rs256("one"), SigningKey.es256("two")):
        keys = parse_jwks(jwks(key))
        assert isinstance(keys, KeySet)
        before = cache.current().issuers[issuer].fetched_at or 0.0
        cache.seed(issuer, keys, max(before + 1, time.time()))
        (document,) = signed(of_file.now()("default"))
        assert [each["kid"] for each in document["jwks"]["keys"]] == [key.kid]
        assert "jwks_file" not in document


def test_each_tenant_gets_its_own_providers_and_the_owners_of_all(tmp_path: Path) -> None:
    entries = [
        {"tenant": tenant, "issuer": f"https://{tenant}.example.com", "audiences": "any"}
        for tenant in ("acme", "globex")
    ]
    of_file, _ = additions(tmp_path, *entries, MODE="saas")
    of = of_file.now()
    assert [each["issuer"] for each in signed(of("acme"))] == ["https://acme.example.com"]
    assert [each["issuer"] for each in signed(of("globex"))] == ["https://globex.example.com"]
    assert signed(of("initech")) == []
    assert of("initech").owners == {f"https://{each}.example.com": each for each in ("acme", "globex")}
    assert "tenant" not in signed(of("acme"))[0]


def test_without_a_change_the_same_is_signed(tmp_path: Path) -> None:
    of_file, _ = additions(tmp_path, {"issuer": "https://idp.example.com", "audiences": "any"})
    assert of_file.now()("default") == of_file.now()("default")


def test_a_provider_of_the_settings_comes_with_those_of_the_file(tmp_path: Path) -> None:
    of_file, _ = additions(
        tmp_path,
        {"issuer": "https://idp.example.com", "audiences": "any", "leeway": 30},
        AUTH_SERVER_URL="https://other.example.com",
        OIDC_AUDIENCE="a",
    )
    found = signed(of_file.now()("default"))
    assert [each["issuer"] for each in found] == ["https://other.example.com", "https://idp.example.com"]
