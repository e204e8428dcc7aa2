"""A registered row of a tenant was damaged by hand: access is removed, and other tenants go on."""

from typing import TYPE_CHECKING

import pytest

from tests.integration.publishing import behind_our_back
from tests.integration.rest_saas import firms
from tests.waiting import until

if TYPE_CHECKING:
    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
KEYS = "/api/v1/service-api-keys"
RULES = "/api/v1/resources/policies"
ACME = "tenant_id = 'acme'"
COUNT_UP = f"UPDATE tenants SET revision = revision + 1 WHERE {ACME}"
ANNOUNCE = "SELECT pg_notify('extauthz_policy', 'acme:0')"
DAMAGES = {
    # what is damaged, and the kind of row that is named; None: it can be read as what it is
    "claims that are not texts": (
        [f"UPDATE identity_providers SET claim_config = '{{\"roles_claim\": 7}}' WHERE {ACME}"],
        "identity_provider",
    ),
    "an audience of numbers": (
        [f"UPDATE identity_providers SET audience = '[7]' WHERE {ACME}"],
        "identity_provider",
    ),
    "a form with a symmetric algorithm": (
        [
            (
                'UPDATE identity_providers SET audience = \'null\', form = \'{"issuer": "https://x.example",'
                f' "audiences": "any", "algorithms": ["HS256"]}}\' WHERE {ACME}'
            )
        ],
        "identity_provider",
    ),
    "a form with a file of the server": (
        [
            (
                'UPDATE identity_providers SET audience = \'null\', form = \'{"issuer": "https://x.example",'
                f' "audiences": "any", "jwks_file": "/etc/passwd"}}\' WHERE {ACME}'
            )
        ],
        "identity_provider",
    ),
    "a host that no request has": (
        [f"UPDATE tenant_hosts SET host = 'acme.local:8080' WHERE {ACME}"],
        "tenant_hosts",
    ),
    "a key that ends in 20,000 years": (
        [f"UPDATE service_api_keys SET expires_at = '20000-01-01Z' WHERE {ACME} AND NOT bootstrap"],
        None,
    ),
    "a key with a scope of a later version": (
        [
            "ALTER TABLE service_api_keys DROP CONSTRAINT service_api_keys_scopes",
            f"UPDATE service_api_keys SET scopes = '{{check,dance}}' WHERE {ACME} AND NOT bootstrap",
        ],
        None,
    ),
    "keys that made each other": (
        [f"UPDATE service_api_keys SET parent_id = id WHERE {ACME} AND NOT bootstrap"],
        None,
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_damaged_configuration_delays_nothing_else(database: "Database", damage: str) -> None:
    statements, kind = DAMAGES[damage]
    async with firms(database, "acme", "globex") as found:
        api = found.api
        key = {"name": "robot", "scopes": ["check"]}
        made = (await api.post(KEYS, key, caller="acme/key")).succeeded(201).body
        api.callers["robot"] = {"X-Service-Api-Key": made["key"]}
        rule = {"sub": "finance", "dom": "emea", "obj": "r", "act": "read", "effect": "allow"}
        allow = (await api.post(RULES, rule, caller="acme/key")).succeeded(201).body["id"]
        await behind_our_back(database.superuser, *statements, COUNT_UP, ANNOUNCE)
        if kind is not None:
            await until(lambda: bool(api.services.unreadable("acme")), what="the damage to be seen")

        asked = {"subject": "alice", "resource": "r", "action": "read"}
        assert (await api.post("/api/v1/check", asked, caller="robot")).status in {200, 403}
        assert (await api.get(KEYS, caller="acme/key")).status == 200
        gone = (await api.delete(f"{RULES}/{allow}", caller="acme/key")).succeeded(204)
        if kind is not None:
            assert gone.headers["X-Policy-Warnings"].startswith(f'unreadable_row;kind="{kind}";id="')
        (await api.delete(f"{KEYS}/{made['id']}", caller="acme/key")).succeeded(204)
        (await api.post("/api/v1/check", asked, caller="robot")).problem(401)
        suspended = await api.patch("/admin/tenants/acme", {"status": "suspended"}, caller="session")
        if kind is not None:
            codes = [each["code"] for each in suspended.succeeded(200).body["warnings"]]
            assert codes == ["unreadable_row"]
        assert await api.services.wait_for("acme", suspended.revision, 10)
        directory = api.services.policies.current()
        assert directory is not None
        assert "acme" in directory.suspended
        # The other tenant is not affected, and gets no warning.
        written = await api.post(RULES, rule, caller="globex/admin")
        assert "X-Policy-Warnings" not in written.succeeded(201).headers
