"""Many tenants from the database to decisions: a credential of one tenant allows nothing of another."""

import itertools
import os
import random
import time
import uuid
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.domain.service_key import key_text
from extauthz.domain.tenancy import TenantBinding
from extauthz.storage import (
    hosts,
    identity_providers,
    resources,
    role_bindings,
    role_rules,
    service_keys,
    tenant_configs,
    tenants,
)
from extauthz.storage.outcome import Refusal
from extauthz.storage.tenants import TenantStatus
from extauthz.storage.write import Change, Written
from tests.integration.published_tenants import SLUGS, WITHIN_S, another_worker, mesh
from tests.integration.publishing import behind_our_back
from tests.integration.storage_documents import (
    attempt,
    new_id,
    pool_of,
    reader_of,
    resource,
    role_binding,
    role_rule,
    route,
    succeed,
)
from tests.key_server import key_server
from tests.tokens import SigningKey
from tests.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio


async def test_every_credential_is_judged_at_every_host_by_its_tenant(database: "Database") -> None:
    async with mesh(database) as found:
        for caller, owner in itertools.product(found.firms.values(), found.firms.values()):
            expected = "allowed" if caller is owner else "tenant_mismatch"
            for path in ("/orders", "/any/where"):
                assert await found.reason(owner.host, path, token=caller.token()) == expected
                assert await found.reason(owner.host, path, key=caller.service_key) == expected
            # The signature of one under the name of another. The token is old enough for any fetch to prove
            # that its key is not the issuer's.
            forged = caller.token(iss=owner.provider.issuer, iat=int(time.time()) - 300)
            refused = "allowed" if caller is owner else "token_unknown_key"
            assert await found.reason(owner.host, token=forged) == refused
            both = {"token": caller.token(), "key": owner.service_key}
            assert await found.reason(owner.host, **both) == "credentials_conflict"


async def test_the_upstream_receives_the_tenant_and_the_principal(database: "Database") -> None:
    async with mesh(database, slugs=["acme"]) as found:
        acme = found.firms["acme"]
        answer = await found.ask("acme.local", token=acme.token(sub="alice", groups=["clerk"]))
        assert answer.headers["x-auth-tenant"] == "acme"
        assert answer.headers["x-auth-roles"] == "clerk"
        answer = await found.ask("acme.local", key=acme.service_key)
        assert (answer.headers["x-auth-subject"], answer.headers["x-auth-kind"]) == (acme.key_id, "service")


async def test_claims_and_headers_choose_no_tenant(database: "Database") -> None:
    async with mesh(database) as found:
        acme = found.firms["acme"]
        token = acme.token(tenant="globex", tenant_id="globex", azp="globex")
        assert await found.reason("globex.local", token=token) == "tenant_mismatch"
        assert await found.reason("acme.local", token=token) == "allowed"


async def test_a_route_for_the_host_of_another_tenant_is_unmapped(database: "Database") -> None:
    async with mesh(database) as found:
        acme, globex = found.firms["acme"], found.firms["globex"]
        # acme has written a route /claimed for globex.local; the owner of the host has its own
        assert await found.reason("globex.local", "/claimed", token=acme.token()) == "tenant_mismatch"
        assert await found.reason("acme.local", "/claimed", token=acme.token()) == "unmapped_route"
        assert await found.reason("globex.local", "/claimed", token=globex.token()) == "allowed"


async def test_a_host_without_owner_is_unmapped(database: "Database") -> None:
    async with mesh(database) as found:
        acme = found.firms["acme"]
        for host in ("elsewhere.local", "x.acme.local", "local", "127.0.0.1"):
            assert await found.reason(host, token=acme.token()) == "unmapped_route"
            assert await found.reason(host, key=acme.service_key) == "unmapped_route"
            assert await found.reason(host) == "unmapped_route"
        for spelling in ("ACME.local", "acme.local:8443", "acme.local."):
            assert await found.reason(spelling, token=acme.token()) == "allowed"


async def test_the_proxy_may_name_the_owner(database: "Database") -> None:
    async with mesh(database) as found:
        acme, globex = found.firms["acme"], found.firms["globex"]
        assert await found.reason("globex.local", token=acme.token(), tenant="acme") == "allowed"
        assert await found.reason("acme.local", token=acme.token(), tenant="globex") == "tenant_mismatch"
        assert await found.reason("anything", key=globex.service_key, tenant="globex") == "allowed"
        assert await found.reason("acme.local", token=acme.token(), tenant="umbrella") == "unmapped_route"
        named = {"tenant": "acme", "resource": "order:read", "action": "read"}
        assert await found.reason("x", "/nowhere", token=acme.token(), **named) == "allowed"
        assert await found.reason("x", "/nowhere", token=globex.token(), **named) == "tenant_mismatch"


async def test_with_the_setting_of_the_operator_the_token_names_the_owner(database: "Database") -> None:
    async with mesh(database, binding=TenantBinding.TOKEN) as found:
        acme, globex = found.firms["acme"], found.firms["globex"]
        assert await found.reason("shared.local", token=acme.token()) == "allowed"
        assert await found.reason("shared.local", key=globex.service_key) == "allowed"
        assert await found.reason("shared.local") == "unmapped_route"
        # an owned host stays its owner's
        assert await found.reason("globex.local", token=acme.token()) == "tenant_mismatch"


async def test_a_suspended_tenant_is_denied_with_its_reason_until_it_is_resumed(database: "Database") -> None:
    async with mesh(database) as found:
        acme, globex = found.firms["acme"], found.firms["globex"]
        await found.write("acme", partial(tenants.replace, status=TenantStatus.SUSPENDED))
        assert await found.reason("acme.local", token=acme.token()) == "tenant_suspended"
        assert await found.reason("acme.local", key=acme.service_key) == "tenant_suspended"
        assert await found.reason("acme.local", token=globex.token()) == "tenant_mismatch"
        assert await found.reason("globex.local", token=globex.token()) == "allowed"
        await found.write("acme", partial(tenants.replace, status=TenantStatus.ACTIVE))
        assert await found.reason("acme.local", token=acme.token()) == "allowed"


async def test_a_deleted_tenant_is_gone(database: "Database") -> None:
    async with mesh(database) as found:
        acme = found.firms["acme"]
        token = acme.token()
        assert await found.reason("acme.local", token=token) == "allowed"
        await succeed(found.pool, tenants.delete, tenant="acme")
        await until(lambda: "acme" not in found.directory.snapshots, what="the tenant to be gone")
        assert await found.reason("acme.local", token=token) == "token_unknown_issuer"
        assert await found.reason("acme.local", key=acme.service_key) == "api_key_invalid"
        globex = found.firms["globex"]
        assert await found.reason("acme.local", token=globex.token()) == "unmapped_route"
        await found.write("globex", partial(hosts.replace, hosts=["globex.local", "acme.local"]))
        assert await found.reason("acme.local", token=globex.token()) == "allowed"


async def test_a_host_moves_to_another_tenant_once_it_is_released(database: "Database") -> None:
    async with mesh(database) as found:
        acme, globex = found.firms["acme"], found.firms["globex"]
        taken = await attempt(found.pool, partial(hosts.replace, hosts=["acme.local"]), tenant="globex")
        assert isinstance(taken, Refusal)
        await found.write("acme", partial(hosts.replace, hosts=["new.acme.local"]))
        assert await found.reason("acme.local", token=acme.token()) == "unmapped_route"
        assert await found.reason("new.acme.local", token=acme.token()) == "allowed"
        await found.write("globex", partial(hosts.replace, hosts=["acme.local"]))
        assert await found.reason("acme.local", token=globex.token()) == "allowed"
        assert await found.reason("acme.local", token=acme.token()) == "tenant_mismatch"


async def test_a_provider_is_replaced_without_a_gap_and_forgotten_at_once(database: "Database") -> None:
    async with mesh(database) as found, key_server(SigningKey.es256("second")) as second:
        acme = found.firms["acme"]
        old = acme.token()
        assert await found.reason("acme.local", token=old) == "allowed"
        # the audience alone: the keys stay, remembered tokens do not
        await found.write(
            "acme",
            partial(identity_providers.replace, document=acme.identity_provider(audience=["other"])),
        )
        assert await found.reason("acme.local", token=old) == "token_wrong_audience"
        assert await found.reason("acme.local", token=acme.token(aud="other")) == "allowed"
        moved = acme.identity_provider(issuer_url=second.issuer)
        await found.write("acme", partial(identity_providers.replace, document=moved))
        assert await found.reason("acme.local", token=old) == "token_unknown_issuer"
        assert list(found.keys.current().issuers) == [
            second.issuer, *(found.firms[slug].provider.issuer for slug in SLUGS[1:]),
        ]  # fmt: skip
        row = uuid.UUID(acme.idp_id)
        await found.write("acme", lambda change: identity_providers.delete(change, row))
        assert second.issuer not in found.keys.current().issuers


async def test_an_issuer_of_two_tenants_belongs_to_neither(database: "Database") -> None:
    async with mesh(database) as found:
        acme = found.firms["acme"]
        stolen = found.firms["globex"].identity_provider(issuer_url=acme.provider.issuer)
        refused = await attempt(
            found.pool, partial(identity_providers.replace, document=stolen), tenant="globex"
        )
        assert isinstance(refused, Refusal)
        await behind_our_back(
            database.superuser,
            "ALTER TABLE identity_providers DROP CONSTRAINT identity_providers_issuer",
            f"UPDATE identity_providers SET issuer = '{acme.provider.issuer}' WHERE tenant_id = 'globex'",
        )
        await found.write("globex", partial(tenants.replace, name="another name"))
        for host in ("acme.local", "globex.local"):
            assert await found.reason(host, token=acme.token()) == "token_unknown_issuer"


# Service keys


async def test_rules_and_bindings_mean_a_key_by_its_id(database: "Database") -> None:
    async with mesh(database, slugs=["acme"]) as found:
        acme = found.firms["acme"]

        async def work(change: Change) -> None:
            await resources.create(change, [resource(name="ledger:read", routes=[route("/ledger")])])
            await role_bindings.create(
                change, [role_binding(user=acme.key_id, user_kind="service", role="robots")]
            )
            await role_rules.create(change, [role_rule(sub="robots", obj="ledger:read", act="read")])

        assert await found.reason("acme.local", "/ledger", key=acme.service_key) == "unmapped_route"
        await found.write("acme", work)
        assert await found.reason("acme.local", "/ledger", key=acme.service_key) == "allowed"
        # a user may have any name
        pretender = acme.token(sub=acme.key_id)
        assert await found.reason("acme.local", "/ledger", token=pretender) == "no_matching_rule"


async def test_a_revoked_key_ends_everywhere_with_what_it_made(database: "Database") -> None:
    async with mesh(database, slugs=["acme"]) as found:
        acme = found.firms["acme"]
        secret = os.urandom(32)
        child = {
            "id": f"sak_{new_id()}", "name": "child", "scopes": ["identity"], "parent": acme.key_id,
            "domain": "finance",
        }  # fmt: skip
        await found.write("acme", partial(service_keys.create, document=child, secret=secret))
        answer = await found.ask("acme.local", key=key_text(str(child["id"]), secret))
        assert answer.headers["x-auth-domain"] == "finance"
        started = time.monotonic()
        await found.write("acme", partial(service_keys.revoke, key_id=acme.key_id))
        assert time.monotonic() - started < 1.0
        for key in (acme.service_key, key_text(str(child["id"]), secret)):
            assert await found.reason("acme.local", key=key) == "api_key_invalid"


async def test_only_a_valid_key_with_the_scope_identity_identifies(database: "Database") -> None:
    async with mesh(database, slugs=["acme"]) as found:
        acme = found.firms["acme"]
        secret = os.urandom(32)

        async def made(**members: object) -> str:
            document = {"id": f"sak_{new_id()}", "name": "robot", "scopes": ["identity"]} | members
            await found.write("acme", partial(service_keys.create, document=document, secret=secret))
            return key_text(str(document["id"]), secret)

        other_scope = await made(scopes=["check", "policies:read"])
        expired = await made(expires_at="2001-01-01T00:00:00Z")
        wrong = acme.service_key[:-64] + secret.hex()
        for key in (other_scope, expired, wrong, acme.service_key.upper(), acme.key_id, "x", "sak_live_"):
            assert await found.reason("acme.local", key=key) == "api_key_invalid", key
        assert (
            await found.reason("acme.local", key=await made(expires_at="2099-01-01T00:00:00Z")) == "allowed"
        )


# The publisher


async def test_a_sidecar_serves_its_configured_tenants(database: "Database") -> None:
    async with mesh(database, serves=["acme"]) as found:
        acme = found.firms["acme"]
        async with pool_of(database.address, "globex") as pool:
            await succeed(pool, partial(hosts.replace, hosts=["globex.local"]), tenant="globex")
        await found.write("acme", partial(tenants.replace, name="again"))
        assert set(found.directory.snapshots) == {"acme"}
        assert await found.reason("acme.local", token=acme.token()) == "allowed"
        assert await found.reason("globex.local", token=acme.token()) == "unmapped_route"
        assert await found.reason("acme.local", token=acme.token(), tenant="globex") == "unmapped_route"


async def test_unreadable_policies_delay_no_suspension_and_no_revocation_of_a_key(
    database: "Database",
) -> None:
    async with mesh(database) as found:
        acme, globex = found.firms["acme"], found.firms["globex"]
        await behind_our_back(
            database.superuser,
            "ALTER TABLE role_rules DROP CONSTRAINT role_rules_effect_check",
            "UPDATE role_rules SET effect = 'maybe' WHERE tenant_id = 'acme'",
            "UPDATE tenants SET revision = revision + 7 WHERE tenant_id = 'acme'",
            "SELECT pg_notify('extauthz_policy', 'acme:0')",
        )
        await until(lambda: "acme" in found.directory.lagging, what="the alarm")
        assert await found.reason("acme.local", key=acme.service_key) == "allowed"
        await succeed(found.pool, partial(service_keys.revoke, key_id=acme.key_id), tenant="acme")
        await until(lambda: acme.key_id not in found.directory.service_keys, what="the key to end")
        assert await found.reason("acme.local", token=acme.token()) == "allowed"
        await succeed(found.pool, partial(tenants.replace, status=TenantStatus.SUSPENDED), tenant="acme")
        await until(lambda: "acme" in found.directory.suspended, what="the suspension")
        assert await found.reason("acme.local", token=acme.token()) == "tenant_suspended"
        # the age is the worst tenant's; the others do not wait for it
        assert found.directory.worst_confirmed() == found.directory.lagging["acme"]
        await found.write("globex", partial(tenants.replace, name="unaffected"))
        assert await found.reason("globex.local", token=globex.token()) == "allowed"


async def test_only_the_tenant_whose_policies_never_compiled_is_not_ready(database: "Database") -> None:
    async with mesh(database) as found, AsyncExitStack() as stack:
        acme, globex = found.firms["acme"], found.firms["globex"]
        await behind_our_back(
            database.superuser,
            "ALTER TABLE role_rules DROP CONSTRAINT role_rules_effect_check",
            "UPDATE role_rules SET effect = 'maybe' WHERE tenant_id = 'acme'",
        )
        restarted = await stack.enter_async_context(another_worker(database, found))
        await until(lambda: restarted.policies.current() is not None, what="the other tenants")
        await restarted.keys_are_known()

        for credential in ({"token": acme.token()}, {"key": acme.service_key}, {}):
            for how in ({}, {"tenant": "acme"}, {"resource": "order:read", "action": "read"}):
                answer = await restarted.ask("acme.local", **credential, **how)
                assert (answer.allowed, answer.status) == (False, 503), (credential, how)
                assert answer.metadata["reason"] == "not_ready"
                assert answer.headers["retry-after"] == "1"
        assert await restarted.reason("acme.local", token=globex.token()) == "tenant_mismatch"
        assert await restarted.reason("acme.local", token="a.b.c") == "token_malformed"
        assert await restarted.reason("unowned.local", token=acme.token()) == "unmapped_route"
        assert await restarted.reason("acme.local", token=acme.token(), tenant="umbrella") == "unmapped_route"
        assert await restarted.reason("globex.local", token=globex.token()) == "allowed"
        assert await restarted.reason("globex.local", token=acme.token()) == "tenant_mismatch"
        (problem,) = restarted.publisher.problems["acme"]
        assert "'maybe'" in str(problem)
        # What else the operator registers of it holds.
        await succeed(found.pool, partial(tenants.replace, status=TenantStatus.SUSPENDED), tenant="acme")
        await until(lambda: "acme" in restarted.directory.suspended, what="the suspension")
        assert await restarted.reason("acme.local", token=acme.token()) == "tenant_suspended"
        await succeed(found.pool, partial(tenants.replace, status=TenantStatus.ACTIVE), tenant="acme")

        # By hand: no revision, no notification, and no poll in the next minutes.
        await behind_our_back(
            database.superuser, "UPDATE role_rules SET effect = 'allow' WHERE tenant_id = 'acme'"
        )
        await until(lambda: "acme" in restarted.directory.snapshots, within=5.0, what="the repair")
        assert await restarted.reason("acme.local", token=acme.token()) == "allowed"
        assert restarted.publisher.problems == {}


async def test_registrations_in_any_order_are_published_as_they_are_stored(database: "Database") -> None:
    dice = random.Random(11)
    names = [f"h{number}.local" for number in range(6)]
    async with (
        mesh(database, slugs=["acme", "globex", "initech"]) as found,
        reader_of(database.address) as reader,
    ):
        for _ in range(60):
            slug = dice.choice(SLUGS)
            firm = found.firms[slug]
            work: Callable[[Change], Any]
            match dice.randrange(5):
                case 0 | 1:
                    chosen = dice.sample(names, dice.randrange(4))
                    work = partial(hosts.replace, hosts=chosen)
                case 2:
                    status: Any = dice.choice(["active", "suspended"])
                    work = partial(tenants.replace, status=status)
                case 3:
                    changed = firm.identity_provider(issuer_url=f"https://idp{dice.randrange(4)}.example")
                    work = partial(identity_providers.replace, document=changed)
                case _:
                    key = {
                        "id": f"sak_{new_id()}",
                        "name": "k",
                        "scopes": dice.choice([["identity"], ["check"]]),
                    }
                    work = partial(service_keys.create, document=key, secret=os.urandom(32))
            written = await attempt(found.pool, work, tenant=slug)
            if isinstance(written, Written):
                assert await found.publisher.wait_for(slug, written.revision, WITHIN_S)
            stored = await tenant_configs.read(reader, SLUGS)
            directory = found.directory
            assert directory.hosts == {host: each for each in SLUGS for host in stored[each].hosts}
            assert directory.suspended == {each for each in SLUGS if stored[each].suspended}
            assert set(directory.issuers) == {p for each in SLUGS for p in stored[each].providers}
            assert set(directory.service_keys) == {k.id for each in SLUGS for k in stored[each].identity_keys}
            assert {(i.config.issuer, i.config.tenant) for i in found.keys.current().issuers.values()} == {
                (p.document["issuer_url"], p.tenant) for p in directory.issuers
            }
