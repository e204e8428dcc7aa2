"""The member `introspection` of a provider in the file of IDENTITY_PROVIDERS."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from extauthz.decide.tokens.keyring import IntrospectionRule
from extauthz.domain.problem import Problem
from extauthz.domain.tenancy import TenancyMode, TenantBinding
from extauthz.keys.introspection_client import ClientAuth, IntrospectionClient
from extauthz.keys.provider_documents import ProviderDefaults, read_providers
from extauthz.keys.source import IssuerSource
from tests.tokens import SigningKey

DEFAULTS = ProviderDefaults(TenancyMode.SELFHOST, "roles", "dom", "adm", frozenset(), frozenset())
SAAS = replace(DEFAULTS, mode=TenancyMode.SAAS)
LEAST = {"client_id": "gateway", "client_secret_file": "secret"}
SIGNED = {"client_id": "gateway", "auth_method": "private_key_jwt", "key_file": "ec.pem"}


def pem(key: Any, password: bytes | None = None) -> bytes:
    encryption = NoEncryption() if password is None else BestAvailableEncryption(password)
    octets: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    return octets


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("files")
    (found / "secret").write_text("s3cret\n")
    (found / "blank").write_text(" \n")
    (found / "binary").write_bytes(b"\xff\xfe")
    (found / "long").write_text("x" * 20_000)
    (found / "ec.pem").write_bytes(pem(SigningKey.es256("introspection").private))
    (found / "rsa.pem").write_bytes(pem(SigningKey.rs256("introspection").private))
    (found / "short.pem").write_bytes(pem(rsa.generate_private_key(65537, 1024)))
    (found / "curve.pem").write_bytes(pem(ec.generate_private_key(ec.SECP256K1())))
    (found / "dsa.pem").write_bytes(pem(dsa.generate_private_key(1024)))
    (found / "locked.pem").write_bytes(pem(SigningKey.es256("introspection").private, b"passphrase"))
    (found / "text.pem").write_text("no key")
    return found


def read(
    folder: Path, *members: object, defaults: ProviderDefaults = DEFAULTS, **changes: Any
) -> tuple[IssuerSource, ...] | list[Problem]:
    providers = [
        {"issuer": f"https://idp{number}.example", "audiences": ["api"], "introspection": each} | changes
        for number, each in enumerate(members)
    ]
    return read_providers(json.dumps({"providers": providers}).encode(), defaults, folder)


def problems(folder: Path, *members: object, **changes: Any) -> list[str]:
    found = read(folder, *members, **changes)
    assert isinstance(found, list), found
    return [str(problem) for problem in found]


def test_members_that_are_left_out_have_usual_values(folder: Path) -> None:
    found = read(folder, LEAST)
    assert isinstance(found, tuple), found
    (source,) = found
    assert source.config.introspection == IntrospectionRule(60.0)
    assert source.config.has_keys
    assert source.introspection == IntrospectionClient(
        "gateway", ClientAuth.CLIENT_SECRET_BASIC, secret_file=folder / "secret"
    )


def test_every_member_is_read(folder: Path) -> None:
    member = {
        **SIGNED,
        "endpoint": "https://idp.example/introspect",
        "key_file": "rsa.pem",
        "key_id": "k1",
        "algorithm": "PS256",
        "assertion_audience": "https://idp.example/introspect",
        "tokens": "all",
        "cache": 0,
        "timeout": 3,
    }
    found = read(folder, member)
    assert isinstance(found, tuple), found
    (source,) = found
    assert source.config.introspection == IntrospectionRule(0.0, every_token=True)
    assert not source.config.has_keys
    assert source.introspection == IntrospectionClient(
        "gateway",
        ClientAuth.PRIVATE_KEY_JWT,
        endpoint="https://idp.example/introspect",
        key_file=folder / "rsa.pem",
        key_id="k1",
        algorithm="PS256",
        assertion_audience="https://idp.example/introspect",
        timeout=3.0,
    )


@pytest.mark.parametrize(
    ("member", "expected"),
    [
        ({}, "/client_id: is missing"),
        ({}, "/client_secret_file: is missing; client_secret_basic needs it"),
        ("yes", ": found 'yes', an object is needed"),
        ([LEAST], ": found a list, an object is needed"),
        ({**LEAST, "client_id": ""}, "/client_id: found '', a string that is not empty is needed"),
        ({**LEAST, "client_id": 7}, "/client_id: found 7, a string is needed"),
        ({**LEAST, "client_secret": "x"}, "/client_secret: is not a member here"),
        ({**LEAST, "client_secret_file": "none"}, "/client_secret_file: 'none' cannot be read"),
        ({**LEAST, "client_secret_file": "."}, "/client_secret_file: '.' is not a regular file"),
        ({**LEAST, "client_secret_file": "blank"}, "/client_secret_file: must contain a text"),
        ({**LEAST, "client_secret_file": "binary"}, "/client_secret_file: is not UTF-8"),
        ({**LEAST, "client_secret_file": "long"}, "/client_secret_file: larger than 16384 bytes"),
        ({**LEAST, "key_file": "ec.pem"}, "/key_file: is not used by client_secret_basic"),
        ({**LEAST, "auth_method": "none"}, "/auth_method: found 'none', one of 'client_secret_basic'"),
        ({**LEAST, "auth_method": "private_key_jwt"}, "/key_file: is missing; private_key_jwt needs it"),
        (
            {**LEAST, "auth_method": "private_key_jwt"},
            "/client_secret_file: is not used by private_key_jwt",
        ),
        ({**SIGNED, "key_file": "text.pem"}, "/key_file: holds no private key in PEM"),
        ({**SIGNED, "key_file": "locked.pem"}, "/key_file: holds no private key in PEM without a passphrase"),
        ({**SIGNED, "key_file": "short.pem"}, "/key_file: RSA of 1024 bits; 2048 or more are needed"),
        ({**SIGNED, "key_file": "curve.pem"}, "/key_file: the curve is not P-256"),
        ({**SIGNED, "key_file": "dsa.pem"}, "/key_file: the key is neither RSA, EC nor Ed25519"),
        ({**SIGNED, "algorithm": "RS256"}, "/algorithm: found 'RS256', the key signs with ES256"),
        ({**SIGNED, "algorithm": "HS256"}, "/algorithm: found 'HS256', the key signs with ES256"),
        (
            {**LEAST, "endpoint": "http://idp.example/x"},
            "/endpoint: found 'http://idp.example/x': http is only",
        ),
        (
            {**LEAST, "endpoint": "file:///etc/passwd"},
            "/endpoint: found 'file:///etc/passwd': not an absolute",
        ),
        (
            {**LEAST, "endpoint": "https://u:p@idp.example/"},
            "/endpoint: found 'https://***@idp.example/': a URL",
        ),
        ({**LEAST, "tokens": "jwt"}, "/tokens: found 'jwt', one of 'opaque', 'all' is needed"),
        ({**LEAST, "cache": -1}, "/cache: found -1, an integer from 0 to 3600 is needed"),
        ({**LEAST, "cache": 3601}, "/cache: found 3601, an integer from 0 to 3600 is needed"),
        ({**LEAST, "cache": True}, "/cache: found true, an integer is needed"),
        ({**LEAST, "cache": 1.5}, "/cache: found 1.5, an integer is needed"),
        ({**LEAST, "timeout": 0}, "/timeout: found 0, an integer from 1 to 3 is needed"),
        ({**LEAST, "timeout": 4}, "/timeout: found 4, an integer from 1 to 3 is needed"),
        ({**LEAST, "scope": "x"}, "/scope: is not a member here"),
    ],
    ids=str,
)
def test_a_mistake_is_named_with_its_place(folder: Path, member: object, expected: str) -> None:
    found = problems(folder, member)
    assert any(f"/providers/0/introspection{expected}" in each for each in found), found
    assert "s3cret" not in str(found)


def test_a_null_member_is_a_mistake(folder: Path) -> None:
    assert problems(folder, None) == ["/providers/0/introspection: found null, an object is needed"]


def test_a_tenant_has_at_most_one_introspecting_provider(folder: Path) -> None:
    (problem,) = problems(folder, LEAST, LEAST)
    assert problem.startswith("/providers/1/introspection: the tenant introspects with /providers/0 already")
    found = read(folder, LEAST, defaults=SAAS, tenant="acme")
    assert isinstance(found, tuple)
    both = [
        {
            "tenant": tenant,
            "issuer": f"https://{tenant}.example",
            "audiences": ["api"],
            "introspection": LEAST,
        }
        for tenant in ("acme", "globex")
    ]
    assert isinstance(read_providers(json.dumps({"providers": both}).encode(), SAAS, folder), tuple)


def test_the_owner_of_a_target_may_not_follow_from_an_opaque_token(folder: Path) -> None:
    defaults = replace(SAAS, binding=TenantBinding.TOKEN)
    (found,) = problems(folder, LEAST, defaults=defaults, tenant="acme")
    assert found.startswith("/providers/0/introspection: cannot be used with TENANT_BINDING=token")


def test_an_issuer_that_is_not_a_url_needs_the_endpoint(folder: Path) -> None:
    (found,) = problems(folder, LEAST, issuer="accounts.example", jwks_file="secret")
    assert found.startswith("/providers/0/introspection/endpoint: is missing, and cannot be discovered")


def test_a_template_does_not_introspect(folder: Path) -> None:
    text = {
        "issuer_template": "https://idp.example/{id}",
        "issuer_values": ["a", "b"],
        "audiences": ["api"],
        "introspection": LEAST,
    }
    found = read_providers(json.dumps({"providers": [text]}).encode(), DEFAULTS, folder)
    assert isinstance(found, list)
    assert "/providers/0/introspection: is only used with issuer" in str(found[0])


def test_where_every_token_is_introspected_keys_are_not_used(folder: Path) -> None:
    (found,) = problems(folder, {**LEAST, "tokens": "all"}, jwks_uri="https://idp.example/keys")
    assert found.startswith("/providers/0/jwks_uri: is not used: with tokens: all")
    # No keys are needed either, so an issuer that is not a URL needs none.
    member = {**LEAST, "tokens": "all", "endpoint": "https://idp.example/introspect"}
    assert isinstance(read(folder, member, issuer="accounts.example"), tuple)
