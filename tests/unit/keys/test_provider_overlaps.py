"""An issuer, alias or value of a template belongs to one provider, and so to one tenant."""

import json
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from extauthz.domain.tenancy import TenancyMode
from extauthz.keys.cache import JwksCache
from extauthz.keys.fetcher import FetchedKeys, FetchFailed
from extauthz.keys.provider_documents import ProviderDefaults, read_providers
from extauthz.keys.source import IssuerSource
from extauthz.telemetry.counts import FetchOutcome
from tests.integration.introspecting import config

SAAS = ProviderDefaults(TenancyMode.SAAS, "roles", "dom", "adm", frozenset(), frozenset())
TEMPLATE = {"issuer_template": "https://login.example/{id}/v2.0", "issuer_values": ["one", "two"]}
OVERLAPPING: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "two templates": (TEMPLATE, {**TEMPLATE, "issuer_values": ["two", "three"]}),
    "templates of other forms": (
        TEMPLATE,
        {"issuer_template": "https://login.example/two/{version}", "issuer_values": ["v1.0", "v2.0"]},
    ),
    "a template and an issuer": (TEMPLATE, {"issuer": "https://login.example/two/v2.0"}),
    "a template and an alias": (
        TEMPLATE,
        {"issuer": "https://globex.example", "aliases": ["https://login.example/two/v2.0"]},
    ),
    "an issuer and an alias": (
        {"issuer": "https://acme.example"},
        {"issuer": "https://globex.example", "aliases": ["https://acme.example"]},
    ),
    "two aliases": (
        {"issuer": "https://acme.example", "aliases": ["https://both.example"]},
        {"issuer": "https://globex.example", "aliases": ["https://both.example"]},
    ),
}


@pytest.mark.parametrize("name", OVERLAPPING)
def test_what_two_tenants_claim_is_refused_in_each_order(name: str) -> None:
    for tenants in permutations(("acme", "globex")):
        providers = [
            {"tenant": tenant, "audiences": ["api"], **members}
            for tenant, members in zip(tenants, OVERLAPPING[name], strict=True)
        ]
        found = read_providers(json.dumps({"providers": providers}).encode(), SAAS, Path("/nowhere"))
        assert isinstance(found, list), found
        assert [problem.pointer for problem in found] == ["/providers/1"]
        assert "is already used at /providers/0" in found[0].message


class NoFetcher:
    """Nothing is fetched: the cache does not run."""

    async def fetch(
        self, source: IssuerSource, *, known_jwks_uri: str | None = None
    ) -> FetchedKeys | FetchFailed:
        return FetchFailed(FetchOutcome.UNREACHABLE, f"{source.config.issuer} {known_jwks_uri}")


def test_an_alias_that_is_the_issuer_of_another_tenant_leaves_both_without_tokens() -> None:
    ours = config("https://acme.example", aliases=("https://globex.example",))
    theirs = config("https://globex.example")
    cache = JwksCache(NoFetcher())
    cache.configure([IssuerSource(ours), IssuerSource(theirs), IssuerSource(config("https://c.example"))])
    assert set(cache.current().issuers) == {"https://c.example"}
    assert [each.issuer for each in cache.current().introspecting.values()] == ["https://c.example"]
