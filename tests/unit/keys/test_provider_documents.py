"""The file of IDENTITY_PROVIDERS is read, and every mistake is reported with its place."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from extauthz.domain.claim_readings import AdminRole, DomainClaim, RoleClaim, RoleShape, ServiceClaim
from extauthz.domain.forwarding import Forwarding
from extauthz.domain.problem import Problem
from extauthz.domain.tenancy import TenancyMode
from extauthz.keys.provider_documents import ProviderDefaults, read_providers
from extauthz.keys.source import IssuerSource
from tests.tokens import SigningKey, jwks

KEY = SigningKey.es256("inline")
DEFAULTS = ProviderDefaults(
    TenancyMode.SELFHOST, "realm_access.roles", "dom", "adm", frozenset({"offline_access"}), frozenset()
)
SAAS = ProviderDefaults(TenancyMode.SAAS, "roles", "dom", "adm", frozenset(), frozenset())
LEAST = {"issuer": "https://a.example", "audiences": ["api"]}


def read(
    *providers: object, defaults: ProviderDefaults = DEFAULTS, folder: Path = Path("/nowhere")
) -> tuple[IssuerSource, ...] | list[Problem]:
    return read_providers(json.dumps({"providers": list(providers)}).encode(), defaults, folder)


def sources(
    *providers: object, defaults: ProviderDefaults = DEFAULTS, folder: Path = Path("/nowhere")
) -> tuple[IssuerSource, ...]:
    found = read(*providers, defaults=defaults, folder=folder)
    assert isinstance(found, tuple), found
    return found


def problems(*providers: object, defaults: ProviderDefaults = DEFAULTS) -> list[str]:
    found = read(*providers, defaults=defaults)
    assert isinstance(found, list), found
    return [str(problem) for problem in found]


def test_members_that_a_provider_leaves_out_have_the_values_of_the_variables() -> None:
    (source,) = sources(LEAST)
    config = source.config
    assert (config.issuer, config.tenant, config.audiences) == ("https://a.example", "default", ("api",))
    assert config.roles == (RoleClaim("realm_access.roles"),)
    assert config.domain_claims == (DomainClaim("dom"),)
    assert config.admin_domain_claim == "adm"
    assert config.excluded_roles == {"offline_access"}
    assert config.algorithms == {"RS256", "ES256"}
    assert config.subject_claims == ("sub",)
    assert source.operator_configured
    assert source.jwks_uri is None


def test_every_member_is_read() -> None:
    (source,) = sources(
        {
            "issuer": "https://idp.example",
            "aliases": ["idp.example"],
            "jwks_uri": "https://keys.example/jwks",
            "jwks_proxy": "http://proxy.example:3128",
            "audiences": "any",
            "audience_claim": "client_id",
            "algorithms": ["ES384", "EdDSA"],
            "subject_claims": ["oid", "sub"],
            "service_claim": {"claim": "idtyp", "value": "app"},
            "roles": [{"claim": "scp", "shape": "space", "prefix": "scope:"}, {"claim": "roles"}],
            "domain_claims": ["organization", "org"],
            "admin_roles": [{"role": "admin", "domain": "*"}],
            "excluded_roles": [],
            "required_type": "application/AT+JWT",
            "require_bound": True,
            "leeway": 0,
            "max_lifetime": 3600,
        }
    )
    config = source.config
    assert config.names == ("https://idp.example", "idp.example")
    assert config.audiences is None
    assert config.audience_claim == "client_id"
    assert config.algorithms == {"ES384", "EdDSA"}
    assert config.subject_claims == ("oid", "sub")
    assert config.service_claim == ServiceClaim("idtyp", "app")
    assert config.roles == (RoleClaim("scp", RoleShape.SPACE, "scope:"), RoleClaim("roles"))
    assert config.domain_claims == (DomainClaim("organization", True), DomainClaim("org", True))
    assert config.admin_roles == (AdminRole("admin", "*"),)
    assert config.excluded_roles == frozenset()
    assert config.require_bound
    assert (config.required_type, config.leeway, config.max_lifetime) == ("at+jwt", 0.0, 3600.0)
    assert (source.jwks_uri, source.proxy) == ("https://keys.example/jwks", "http://proxy.example:3128")


def test_a_template_is_one_issuer_for_each_value() -> None:
    found = sources(
        {
            "issuer_template": "https://login.example/{tenant}/v2.0",
            "issuer_values": ["one", "two"],
            "audiences": ["api"],
        }
    )
    assert [each.config.issuer for each in found] == [
        "https://login.example/one/v2.0",
        "https://login.example/two/v2.0",
    ]


def test_keys_may_be_in_the_file_or_next_to_it(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_bytes(jwks(KEY))
    inline = json.loads(jwks(KEY))
    one, two = sources(
        {"issuer": "spiffe://td.example", "audiences": "any", "jwks": inline},
        {"issuer": "robot@project.example", "audiences": "any", "jwks_file": "keys.json"},
        folder=tmp_path,
    )
    assert one.jwks is not None
    assert two.jwks_file == tmp_path / "keys.json"


def test_in_saas_each_provider_names_its_tenant() -> None:
    (source,) = sources({**LEAST, "tenant": "acme"}, defaults=SAAS)
    assert source.config.tenant == "acme"
    assert problems(LEAST, defaults=SAAS) == ["/providers/0/tenant: is missing, a string is needed"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"audiences": None}, "/providers/0/audiences: found null, a list is needed"),
        ({"audiences": []}, "/providers/0/audiences: is empty, 1 or more entries are needed"),
        ({"audiences": ["*"]}, "/providers/0/audiences/0: found '*', it must be an audience"),
        ({"issuer": ""}, "/providers/0/issuer: found '', a string that is not empty is needed"),
        ({"issuer": "accounts.example"}, "jwks_uri, jwks_file or jwks is needed"),
        ({"issuer_template": "https://x/{id}"}, "one of issuer and issuer_template is needed"),
        ({"issuer_values": ["x"]}, "is only used with issuer_template"),
        ({"aliases": ["https://a.example"]}, "is already used at /providers/0"),
        ({"issuer": "https://a:b@c.example"}, "it must be an issuer without credentials"),
        ({"aliases": ["https://a:b@c.example/x"]}, "it must be an issuer without credentials"),
        (
            {"aliases": ["https://c.example/.well-known/openid-configuration"]},
            "write https://c.example",
        ),
        ({"jwks_uri": "http://keys.example"}, "http is only for loopback and hosts in JWKS_ALLOW_HOSTS"),
        ({"jwks_file": "missing.json"}, "'missing.json' cannot be read: No such file or directory"),
        ({"jwks_file": "a\0b"}, "without control characters"),
        ({"jwks": []}, "found a list, a JWK Set (an object) is needed"),
        ({"jwks": {"keys": [{"kty": "oct", "k": "AAAA"}]}}, "has no usable key: kty is neither RSA nor EC"),
        ({"jwks": {"keys": []}, "jwks_uri": "https://k.example"}, "jwks_uri is set as well; keep one"),
        ({"jwks_proxy": "proxy"}, "the URL of a proxy or 'environment' is needed"),
        ({"algorithms": ["HS256"]}, "found 'HS256', one of ES256"),
        ({"algorithms": ["none"]}, "found 'none', one of ES256"),
        ({"algorithms": []}, "/providers/0/algorithms: is empty"),
        ({"subject_claims": ["$.sub"]}, "it must be a path of claim names joined by dots, not JSONPath"),
        ({"roles": [{"shape": "list"}]}, "/providers/0/roles/0/claim: is missing, a string is needed"),
        ({"roles": [{"claim": "r", "shape": "csv"}]}, "/providers/0/roles/0/shape: found 'csv', one of"),
        ({"roles": [{"claim": "r", "form": "x"}]}, "/providers/0/roles/0/form: is not a member here"),
        ({"service_claim": 7}, "/providers/0/service_claim: found 7, an object is needed"),
        ({"admin_roles": [{"role": "admin"}]}, "/providers/0/admin_roles/0/domain: is missing"),
        ({"required_type": "logout+jwt"}, "one of jwt, at+jwt is needed"),
        ({"leeway": 31}, "whole seconds from 0 to 30 are needed"),
        ({"leeway": True}, "whole seconds from 0 to 30 are needed"),
        ({"max_lifetime": 0}, "whole seconds from 1 to 315360000 are needed"),
        ({"require_bound": "yes"}, "/providers/0/require_bound: found 'yes', true or false is needed"),
        ({"tenant": "acme"}, "with MODE=selfhost it is left out"),
        ({"client_secret": "s"}, "/providers/0/client_secret: is not a member here"),
    ],
)
def test_a_mistake_is_named_with_its_place(changes: dict[str, object], expected: str) -> None:
    found = problems({**LEAST, **changes})
    assert any(expected in problem for problem in found), found


def test_all_mistakes_are_reported_at_once() -> None:
    found = problems({"issuer": 1, "audiences": 2, "leeway": 3.5}, "text", {**LEAST, "x": 1})
    assert {problem.partition(":")[0] for problem in found} >= {
        "/providers/0/issuer",
        "/providers/0/audiences",
        "/providers/0/leeway",
        "/providers/1",
        "/providers/2/x",
    }


@pytest.mark.parametrize(
    "changes",
    [
        {"jwks_uri": "https://reader:password@keys.example/x"},
        {"jwks_proxy": "ftp://reader:password@proxy.example"},
        {"issuer": "https://reader:password@idp.example"},
        {"aliases": ["https://reader:password@idp.example"]},
        {
            "issuer": "https://idp.example",
            "issuer_template": "https://{id}.example",
            "issuer_values": ["reader:password@idp"],
        },
    ],
)
def test_a_problem_does_not_quote_the_password_of_a_url(changes: dict[str, object]) -> None:
    found = problems({**LEAST, **changes})
    assert "password" not in str(found)


def test_each_issuer_of_a_template_is_judged_as_an_issuer() -> None:
    template = {"issuer_template": "https://{id}.example", "issuer_values": ["a", "reader:password@b"]}
    (found,) = problems({**{name: value for name, value in LEAST.items() if name != "issuer"}, **template})
    assert found == (
        "/providers/0/issuer_template: with its value it is 'https://***@b.example', "
        "it must be an issuer without credentials"
    )


def test_an_issuer_of_two_providers_is_refused() -> None:
    twice = problems(LEAST, {**LEAST, "issuer": "https://b.example", "aliases": ["https://a.example"]})
    assert twice == ["/providers/1: the issuer 'https://a.example' is already used at /providers/0"]


@pytest.mark.parametrize("text", [b"", b"[]", b"providers: {}", b"providers: []", b"\xff", b"a: [", b"x: 1"])
def test_a_text_without_a_list_of_providers_is_refused(text: bytes) -> None:
    assert isinstance(read_providers(text, DEFAULTS, Path("/nowhere")), list)


def test_what_workloads_get_is_read_under_claim_headers() -> None:
    known = replace(DEFAULTS, claim_headers=frozenset({"x-user-email"}))
    wanted = {"headers": {"x-user-email": "user.email"}, "authorization": "remove", "assertion": False}
    (source,) = sources(LEAST | wanted, defaults=known)
    assert source.config.forwarding == Forwarding((("x-user-email", "user.email"),), True, False)
    (usual,) = sources(LEAST, defaults=known)
    assert usual.config.forwarding is None
    assert problems(LEAST | wanted) == [
        (
            "/providers/0/headers/x-user-email: the header 'x-user-email' is not in CLAIM_HEADERS, so no "
            "proxy removes it from clients' requests"
        )
    ]
    found = problems(LEAST | {"headers": ["x-user-email"], "authorization": 1, "assertion": "no"})
    assert [each.split(":")[0] for each in found] == [
        "/providers/0/headers",
        "/providers/0/authorization",
        "/providers/0/assertion",
    ]
