"""Identity providers over REST in the form of the file: members, refusals, and the owners of issuers."""

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from extauthz.domain.tenancy import TenancyMode
from tests.integration.rest_harness import Api, rest
from tests.tokens import SigningKey, jwks

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
PATH: Final = "/admin/tenants/acme/identity-providers"
FIRMS: Final = ("acme", "globex")
KEY: Final = json.loads(jwks(SigningKey.es256("inline")))["keys"][0]
JWKS: Final = {"keys": [KEY]}
SECRET: Final = {"kty": "oct", "k": "c2VjcmV0"}
LEAST: Final[dict[str, Any]] = {"issuer": "https://idp.example", "audiences": ["mesh"]}
EVERY: Final[dict[str, Any]] = {
    "issuer": "accounts.example",
    "aliases": ["https://accounts.example", "spiffe://accounts.example"],
    "jwks": JWKS,
    "audiences": ["mesh", "other,one"],
    "audience_claim": "client_id",
    "algorithms": ["RS384", "ES256", "EdDSA"],
    "subject_claims": ["oid", "sub"],
    "service_claim": {"claim": "idtyp", "value": "app"},
    "roles": [
        {"claim": "scp", "shape": "space", "prefix": "scope:"},
        {"claim": "urn:zitadel:iam:org:project:roles", "shape": "object_keys"},
        {"claim": "cognito:groups"},
    ],
    "domain_claims": ["organization", "org"],
    "admin_roles": [{"role": "admin", "domain": "*"}, {"role": "emea-admin", "domain": "emea"}],
    "excluded_roles": [],
    "required_type": "at+jwt",
    "require_bound": True,
    "headers": {"x-user-email": "user.email"},
    "authorization": "remove",
    "assertion": False,
    "leeway": 0,
    "max_lifetime": 3600,
    "active": False,
}
VALUES: Final[list[Any]] = [
    None, True, False, 0, -1, 1.5, 10**18, "", " ", "\u202e", "x" * 5000, "{x}", [], [None], [[]], [{}], [1],
    [""], ["a", "a"], {}, {"claim": 1}, {"a": {"b": []}}, [{"claim": "a", "x": 1}], [[["a"]]],
]  # fmt: skip
SHOWN: Final = {"id", "created_at", "updated_at"}


async def tenants(api: Api) -> None:
    for slug in FIRMS:
        (await api.post("/admin/tenants", {"name": slug, "slug": slug})).succeeded(201)


async def test_every_member_of_the_form_is_stored_and_shown_as_it_was_written(database: "Database") -> None:
    template = {
        "issuer_template": "https://sts.example/{tenant}/", "issuer_values": ["a", "b"], "audiences": "any",
        "jwks_uri": "https://sts.example/keys", "service_claim": "azp",
    }  # fmt: skip
    async with rest(database, mode=TenancyMode.SAAS) as api:
        await tenants(api)
        for document in (EVERY, template):
            made = (await api.post(PATH, document)).succeeded(201).body
            assert {name: made[name] for name in made.keys() - SHOWN} == {"active": True, **document}
            one = f"{PATH}/{made['id']}"
            put = (await api.put(one, made | {"leeway": 7})).succeeded(200).body
            assert put == made | {"leeway": 7, "updated_at": put["updated_at"]}
        listed = (await api.get(PATH)).succeeded(200).body["items"]
        assert [each["leeway"] for each in listed] == [7, 7]
        (await api.delete(f"{PATH}/{listed[0]['id']}")).succeeded(204)
        (await api.post(PATH, EVERY)).succeeded(201)


@pytest.mark.parametrize(
    ("members", "problems"),
    [
        ({"jwks_file": "/etc/passwd"}, {"/jwks_file": "in the file of IDENTITY_PROVIDERS: it names a file"}),
        ({"jwks_token_file": "t"}, {"/jwks_token_file": "it names a file of the server"}),
        ({"ca_file": None}, {"/ca_file": "it names a file of the server"}),
        ({"jwks_proxy": "environment"}, {"/jwks_proxy": "it names a proxy"}),
        ({"introspection": {"client_secret": "c2VjcmV0"}}, {"/introspection": "it has a secret"}),
        ({"tenant": "globex"}, {"/tenant": "the tenant of the path"}),
        ({"id": "x"}, {"/id": "assigned by the server"}),
        (
            {"jwks_file": "a", "ca_file": "b", "algorithms": ["HS256"], "leeway": 99, "wrong": 1},
            {
                "/jwks_file": "file", "/ca_file": "file", "/algorithms/0": "HS256", "/leeway": "99",
                "/wrong": "not a member",
            },
        ),
        ({"jwks": {"keys": [SECRET, KEY]}}, {"/jwks/keys/0": "'k'"}),
        ({"jwks": {"keys": [KEY | {"d": "x"}]}}, {"/jwks/keys/0": "'d'", "/jwks": "usable"}),
        ({"jwks": {"keys": []}}, {"/jwks": "empty"}),
        ({"jwks": JWKS, "jwks_uri": "https://x/keys"}, {"/jwks": "jwks_uri is set as well"}),
        ({"issuer_url": "https://b.example"}, {"/issuer_url": "issuer_url, issuer and issuer_template"}),
        ({"audience": "mesh"}, {"/audiences": "audience is set as well"}),
        ({"audiences": ["any", "x"]}, {"/audiences": "'any'"}),
        ({"issuer": "accounts.example"}, {"/issuer": "jwks_uri or jwks is needed"}),
        ({"issuer": "https://x/.well-known/openid-configuration"}, {"/issuer": "discovery document"}),
        ({"aliases": ["https://idp.example"]}, {"/aliases": "the issuer itself"}),
        ({"issuer": "https://a:password@b.example"}, {"/issuer": "without credentials"}),
        ({"aliases": ["https://a:password@b.example"]}, {"/aliases/0": "without credentials"}),
        ({"roles": [{"claim": "a"}] * 101}, {"/roles": "more than 100"}),
        (
            {"roles": [], "claim_config": {"roles_claim": "r", "excluded_roles": ["e"], "x": 1}},
            {"/claim_config/roles_claim": "roles is set as well", "/claim_config/x": "not a member"},
        ),
        ({"jwks_uri": "file:///etc/passwd"}, {"/jwks_uri": "an absolute https URL"}),
        (
            {"headers": {"x-other": "user.email"}, "authorization": "drop", "assertion": 1},
            {"/headers/x-other": "CLAIM_HEADERS", "/authorization": "'remove'", "/assertion": "true or"},
        ),
    ],
)  # fmt: skip
async def test_a_refusal_names_every_member_and_its_reason(
    database: "Database", members: dict[str, Any], problems: dict[str, str]
) -> None:
    async with rest(database, mode=TenancyMode.SAAS) as api:
        await tenants(api)
        answer = await api.post(PATH, LEAST | members)
        found = {each["pointer"]: each["message"] for each in answer.problem(422)["errors"]}
        assert found.keys() == problems.keys()
        assert all(part in found[pointer] for pointer, part in problems.items()), found
        assert b"c2VjcmV0" not in answer.raw


async def test_values_of_every_json_type_are_stored_or_refused_with_a_pointer(database: "Database") -> None:
    async with rest(database, mode=TenancyMode.SAAS) as api:
        await tenants(api)
        made = (await api.post(PATH, LEAST)).succeeded(201).body
        one = f"{PATH}/{made['id']}"
        names = [
            *EVERY,
            "issuer_url",
            "audience",
            "claim_config",
            "jwks_uri",
            "issuer_template",
            "issuer_values",
        ]
        for name in names:
            for value in VALUES:
                answer = await api.put(one, LEAST | {name: value})
                assert answer.status in {200, 422}, (name, value, answer.raw)
                if answer.status == 422:
                    assert answer.pointers, (name, value)
                    assert all(pointer.startswith("/") for pointer in answer.pointers), (name, answer.raw)
            shown = (await api.get(PATH)).succeeded(200).body["items"]
            assert [each["id"] for each in shown] == [made["id"]]
        for body in VALUES:
            if body != {}:
                assert (await api.put(one, body)).status in {400, 422}
        assert not api.services.unreadable("acme")


async def test_the_names_of_an_issuer_belong_to_one_provider(database: "Database") -> None:
    async with rest(database, mode=TenancyMode.SAAS) as api:
        await tenants(api)
        (await api.post(PATH, EVERY)).succeeded(201)
        for rival in (
            {"issuer_url": "https://accounts.example", "audience": "mesh"},
            LEAST | {"aliases": ["accounts.example"]},
            {"issuer_template": "spiffe://{domain}", "issuer_values": ["x", "accounts.example"]}
            | {"audiences": "any", "jwks_uri": "https://x/keys"},
        ):
            for path in (PATH, PATH.replace("acme", "globex")):
                refused = (await api.post(path, rival)).problem(409)
                assert "already registered" in refused["errors"][0]["message"]
                assert "acme" not in str(refused)
        (await api.post(PATH.replace("acme", "globex"), LEAST)).succeeded(201)


async def test_an_issuer_of_the_file_is_not_registered(database: "Database") -> None:
    of_file = frozenset({"https://idp.example", "spiffe://a"})
    async with rest(database, mode=TenancyMode.SAAS, file_issuers=lambda: of_file) as api:
        await tenants(api)
        free = {"issuer": "spiffe://b", "audiences": "any", "jwks_uri": "https://x/keys"}
        made = (await api.post(PATH, free)).succeeded(201).body
        one = f"{PATH}/{made['id']}"
        for rival in (
            LEAST,
            {"issuer_url": "https://idp.example", "audience": "a"},
            free | {"aliases": ["spiffe://a"]},
        ):
            for answer in (await api.post(PATH, rival), await api.put(one, rival)):
                (error,) = answer.problem(409)["errors"]
                assert "configured in the file of IDENTITY_PROVIDERS" in error["message"]


@pytest.mark.parametrize("caller", ["tenant", "nobody"])
async def test_only_the_admin_key_writes_providers(database: "Database", caller: str) -> None:
    async with rest(database, mode=TenancyMode.SAAS) as api:
        key = (await api.post("/admin/tenants", {"name": "acme", "slug": "acme"})).succeeded(201).body
        api.callers["tenant"] = {"X-Service-Api-Key": key["bootstrapKey"]}
        assert (await api.post(PATH, LEAST, caller=caller)).status in {401, 403}
        assert (await api.get(PATH)).succeeded(200).body["items"] == []


async def test_tenants_that_exchange_issuers_at_the_same_time_do_not_block_each_other(
    database: "Database",
) -> None:
    """None of the writes is 503, and a refused one leaves the provider its issuers."""
    names = {tenant: [f"https://{tenant}-{number}.example" for number in range(4)] for tenant in FIRMS}

    def named(issuers: list[str]) -> dict[str, Any]:
        return {"issuer": issuers[0], "aliases": issuers[1:], "audiences": ["mesh"]}

    async with rest(database, mode=TenancyMode.SAAS) as api:
        await tenants(api)
        paths = {}
        for tenant, issuers in names.items():
            path = f"/admin/tenants/{tenant}/identity-providers"
            paths[tenant] = f"{path}/{(await api.post(path, named(issuers))).succeeded(201).body['id']}"
        for _ in range(10):
            answers = await asyncio.gather(
                api.put(paths["acme"], named(names["globex"])),
                api.put(paths["globex"], named(names["acme"])),
                api.put(paths["acme"], named(names["acme"][::-1])),
                api.put(paths["globex"], named(names["globex"][::-1])),
            )
            assert {answer.status for answer in answers} <= {200, 409}
        for tenant, other in (("acme", "globex"), ("globex", "acme")):
            path = f"/admin/tenants/{other}/identity-providers"
            for issuer in names[tenant]:
                (await api.post(path, named([issuer]))).problem(409)
