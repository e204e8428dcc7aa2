"""Settings from the environment: all problems are reported at once, and no set value is ignored."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from extauthz.settings import HttpSource, Settings, load_settings, variables

ALONE = {"OIDC_ENABLED": "false", "POLICY_SOURCE": "files:/policies"}
SEED = {
    "MODE": "selfhost",
    "PORT": "8080",
    "POSTGRES_HOST": "db",
    "POSTGRES_PORT": "5432",
    "POSTGRES_USER": "user",
    "POSTGRES_PASSWORD": "password",
    "POSTGRES_DB": "db",
    "OIDC_ENABLED": "true",
    "AUTH_SERVER_URL": "https://idp.example/realms/x",
    "ROLES_CLAIM": "realm_access.roles",
    "DOMAIN_CLAIM": "dom",
    "ADMIN_DOMAIN_CLAIM": "adm",
    "EXCLUDED_ROLES": "offline_access,uma_authorization",
    "ADMIN_API_KEY": "an operator's key of more than 32 bytes",
    "ADMIN_CLIENT_ID": "client",
    "ADMIN_CLIENT_SECRET": "secret",
}


def problems(environ: Mapping[str, str]) -> list[str]:
    found = load_settings(environ)
    return [] if isinstance(found, Settings) else found


def load(environ: Mapping[str, str]) -> Settings:
    found = load_settings({**ALONE, **environ})
    assert isinstance(found, Settings), found
    return found


def test_a_seed_environment_without_audience_is_refused_with_advice() -> None:
    (problem,) = problems(SEED)
    assert problem.startswith("OIDC_AUDIENCE is not set")
    assert "OIDC_AUDIENCE=any" in problem
    assert problems(SEED | {"OIDC_AUDIENCE": "my-api"}) == []


def test_invalid_values_and_missing_variables_are_reported_in_one_message() -> None:
    found = problems({"PORT": "x", "WORKERS": "0", "GRPC_TLS_CERT": "/c", "GRPC_TLS_CLIENT_SANS": "envoy"})

    assert [problem.split()[0] for problem in found] == [
        "PORT",
        "WORKERS",
        "AUTH_SERVER_URL",
        "OIDC_AUDIENCE",
        "GRPC_TLS_CERT",
        "GRPC_TLS_CLIENT_SANS",
    ]


@pytest.mark.parametrize(
    "environ",
    [
        {"MODE": "sass"},
        {"OIDC_ENABLED": "maybe", "AUTH_SERVER_URL": "https://idp.example"},
        {"GRPC_TLS_CERT": " ", "GRPC_TLS_KEY": "/k", **ALONE},
        {"HTTP_AUTHZ_PORT": "9191", "GRPC_PORT": "none", **ALONE},
    ],
    ids=lambda environ: next(iter(environ)),
)
def test_an_invalid_value_causes_no_further_problem(environ: dict[str, str]) -> None:
    assert len(problems(environ)) == 1


@pytest.mark.parametrize("name", ["TENANTS", "GRPC_TLS_CLIENT_SANS"])
@pytest.mark.parametrize("value", [" ", ",", " , "])
def test_an_empty_list_does_not_stand_for_every_entry(name: str, value: str) -> None:
    (problem,) = problems(ALONE | {"GRPC_TLS_CERT": "/c", "GRPC_TLS_KEY": "/k", name: value})
    assert problem.startswith(f"{name} is ")


def test_roles_may_be_excluded_by_none() -> None:
    assert load({"EXCLUDED_ROLES": " "}).excluded_roles == ()


@pytest.mark.parametrize("value", ["any,my-api", "my-api, any", ",", " "])
def test_the_audience_any_cannot_be_combined(value: str) -> None:
    (problem,) = problems({"AUTH_SERVER_URL": "https://idp.example", "OIDC_AUDIENCE": value})
    assert problem.startswith("OIDC_AUDIENCE is ")


@pytest.mark.parametrize("value", ["1e1", "\u0663", "1_0", "+5", "nan", "inf", "-0", "5 s", "0x5", "."])
def test_seconds_are_plain_decimals(value: str) -> None:
    (problem,) = problems(ALONE | {"TOKEN_LEEWAY": value})
    assert problem.endswith("it must be seconds from 0 to 30")
    assert [load({"TOKEN_LEEWAY": good}).token_leeway for good in ("0", ".5", " 5 ", "30.0", "07.")] == [
        0,
        0.5,
        5,
        30,
        7,
    ]


@pytest.mark.parametrize("name", ["HOST", "GRPC_HOST"])
@pytest.mark.parametrize("value", ["*", "a b", "a\nb", "[::1]", "localhost:80", "127.1", "http://a", "-1/2"])
def test_a_listen_setting_is_an_ip_address_or_a_host_name(name: str, value: str) -> None:
    (problem,) = problems(ALONE | {name: value})
    assert problem.endswith("it must be an IP address or the name of a host")
    for good in ("0.0.0.0", "::", "::1", "localhost", "sidecar.internal"):
        assert getattr(load({name: good}), name.lower()) == good


def test_values_that_are_not_utf8_are_refused_in_every_variable() -> None:
    undecodable = (b"\xff" * 40).decode("utf-8", "surrogateescape")
    for variable in variables().values():
        (problem,) = problems({"OIDC_ENABLED": "false", variable.name: undecodable})
        assert problem.startswith(f"{variable.name} is ")
        assert problem.isprintable()


def test_secrets_come_from_files_too_and_are_never_shown(tmp_path: Path) -> None:
    secrets = [variable.name for variable in variables().values() if variable.secret]
    signing_key = Ed25519PrivateKey.generate()
    pem = signing_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    contents = {
        "CONTROL_PLANE_API_KEY": b"a-word",
        "POLICY_API_KEY": b"a-word",
        "POLICY_SIGNING_KEY": pem.removesuffix(b"\n"),
        "OTEL_EXPORTER_OTLP_HEADERS": b"api-key=a-word",
        "DECISION_LOG_MASK_KEY": b"a key of 32 bytes or more, really",
        "DECISION_LOG_CHAIN_KEY": b"a key of 32 bytes or more, really",
    }
    needed = {
        "CONTROL_PLANE_API_KEY": CONTROL_PLANE,
        "DECISION_LOG_MASK_KEY": {"DECISION_LOG_MASK": "subject:hash"},
        "DECISION_LOG_CHAIN_KEY": {"DECISION_LOG_CHAIN": "on"},
    }
    assert set(secrets) == {"POSTGRES_PASSWORD", "ADMIN_API_KEY", *contents}
    file = tmp_path / "secret"
    for name in secrets:
        content = contents.get(name, b"a secret of 32 bytes or more, really")
        file.write_bytes(content + b"\r\n")
        also = needed.get(name, {})
        found = getattr(load({f"{name}_FILE": str(file), **also}), name.lower())
        if name == "POLICY_SIGNING_KEY":
            assert found.private_bytes_raw() == signing_key.private_bytes_raw()
        elif name == "OTEL_EXPORTER_OTLP_HEADERS":
            assert found == (("api-key", "a-word"),)
        else:
            assert found == content.decode()
        (both,) = problems(ALONE | {name: "s3cr3t", f"{name}_FILE": str(file)})
        assert "both" in both
        (missing,) = problems(ALONE | {f"{name}_FILE": str(tmp_path / "none")})
        assert "none' cannot be read" in missing
        for wrong in (b"", b"\n", b"s3cr3t\0", b"s3cr3t\xff"):
            file.write_bytes(wrong)
            (unusable,) = problems(ALONE | {f"{name}_FILE": str(file)})
            assert name in unusable
            assert "s3cr3t" not in unusable + both


CONTROL_PLANE = {"CONTROL_PLANE_URL": "https://control.example.com", "POLICY_SOURCE": "postgres"}
A_KEY = {"CONTROL_PLANE_API_KEY": "a-key"}


@pytest.mark.parametrize(
    ("environ", "names"),
    [
        (A_KEY | {"POLICY_SOURCE": "postgres"}, "CONTROL_PLANE_URL"),
        (CONTROL_PLANE, "CONTROL_PLANE_API_KEY"),
        (CONTROL_PLANE | A_KEY | {"POLICY_SOURCE": "files:policies"}, "POLICY_SOURCE"),
        (CONTROL_PLANE | A_KEY | {"CONTROL_PLANE_URL": "http://control.example.com"}, "CONTROL_PLANE_URL"),
        (CONTROL_PLANE | A_KEY | {"CONTROL_PLANE_URL": "https://control.example.com/x"}, "CONTROL_PLANE_URL"),
        (CONTROL_PLANE | {"CONTROL_PLANE_API_KEY": "two words"}, "CONTROL_PLANE_API_KEY"),
    ],
)
def test_where_a_sidecar_reports_is_complete_or_refused(environ: dict[str, str], names: str) -> None:
    (problem,) = problems(ALONE | environ)
    assert names in problem
    assert "a-key" not in problem
    found = load(CONTROL_PLANE | A_KEY)
    assert found.control_plane_url is not None
    assert found.control_plane_url.url == "https://control.example.com"


@pytest.mark.parametrize(
    "value",
    [
        "https://policies.example.com/path", "https://", "https://a b", "https://u:p@host", "https://host?x=1",
        "https://host#f", "https://host:0", "https://host:99999", "http://policies.example.com",
        "http://10.0.0.1:80", "ftp://host", "https:host", "https://host?",
    ],
)  # fmt: skip
def test_a_policy_server_is_an_address_without_path_over_tls_or_loopback(value: str) -> None:
    (problem,) = problems(ALONE | {"POLICY_SOURCE": value, "POLICY_PUBLIC_KEYS": "ed25519:" + "A" * 43 + "="})
    assert problem.startswith("POLICY_SOURCE is ")
    assert "https://HOST[:PORT]" in problem
    assert "u:p" not in problem


@pytest.mark.parametrize(
    "value", ["https://policies.example.com", "https://h:8443/", "http://localhost:1", "http://[::1]:1"]
)
def test_a_policy_server_needs_pinned_keys(value: str) -> None:
    keys = "ed25519:" + "A" * 43 + "=, ed25519:" + "B" * 43 + "="
    settings = load(ALONE | {"POLICY_SOURCE": value, "POLICY_PUBLIC_KEYS": keys})
    assert settings.policy_source == HttpSource(value.removesuffix("/"))
    assert [len(key) for key in settings.policy_public_keys or ()] == [32, 32]
    (problem,) = problems(ALONE | {"POLICY_SOURCE": value})
    assert "needs POLICY_PUBLIC_KEYS" in problem
    for wrong in ("A" * 44, "ed25519:AAAA", "rsa:" + "A" * 44, keys + ",", "ed25519:" + "!" * 44):
        (problem,) = problems(ALONE | {"POLICY_SOURCE": value, "POLICY_PUBLIC_KEYS": wrong})
        assert problem.startswith("POLICY_PUBLIC_KEYS is ")


def test_a_policy_server_serves_one_tenant() -> None:
    given = {
        "MODE": "saas", "POLICY_SOURCE": "https://policies.example.com",
        "POLICY_PUBLIC_KEYS": "ed25519:" + "A" * 43 + "=",
    }  # fmt: skip
    for tenants in ("", "acme,globex"):
        (problem,) = problems(given | {"TENANTS": tenants})
        assert "serves one tenant" in problem
    assert load(given | {"TENANTS": "acme"}).tenants == ("acme",)
