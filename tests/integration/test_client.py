"""The client against the real API, with PostgreSQL and a real identity provider."""

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest
from fastapi import APIRouter, FastAPI

from extauthz_client import (
    ApiError,
    AttributePolicy,
    ClientCredentials,
    ClientError,
    ExtauthzClient,
    Resource,
    RoleBinding,
    RoleRule,
    Route,
    Unreachable,
    credentials_from,
    protect,
    resource,
)
from tests.docs.samples import samples
from tests.integration.client_harness import control_plane, run_python
from tests.integration.lifespans import client_log, started

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Database

pytestmark = pytest.mark.anyio
INVOICES = Resource(
    "invoice:read",
    "billing",
    display_name="Invoices",
    default_roles=("reporter",),
    routes=(Route(("GET",), "/invoices/{number}", host="api.example.com"), Route(("GET",), "/invoices")),
)
RULE = RoleRule("finance", "emea", "invoice:read", "read", "allow")
TREE = {"type": "CONDITION", "attribute": "resource.owner", "operator": "eq", "value": "alice"}


async def test_resources_are_written_and_read(database: "Database") -> None:
    async with control_plane(database) as plane, plane.client() as client:
        (registered,) = await client.register([INVOICES])
        revision = client.policy_revision
        assert registered.id is not None
        assert registered == Resource(
            "invoice:read",
            "billing",
            "Invoices",
            ("reporter",),
            (
                Route(("GET",), "/invoices/{number}", "api.example.com", "read", "required"),
                Route(("GET",), "/invoices", None, "read", "required"),
            ),
            registered.id,
        )
        assert await client.register([INVOICES]) == (registered,)
        assert client.policy_revision == revision
        assert await client.register([]) == ()
        assert await client.resources(name="invoice:read", service_name="billing") == (registered,)
        assert await client.resources(service_name="other") == ()

        await client.create_role_rule(RULE)
        with pytest.raises(ApiError) as refused:
            await client.delete_resource(registered.id)
        assert refused.value.status == 409
        await client.delete_resource(registered.id, cascade=True)
        assert await client.resources() == ()
        assert await client.role_rules() == ()


async def test_what_the_workload_gets_is_registered_and_read(database: "Database") -> None:
    wanted = Resource(
        "order:read", "shop", authorization="remove", assertion=False, require_bound=True, headers={}
    )
    async with control_plane(database) as plane, plane.client() as client:
        (registered,) = await client.register([wanted])
        told = (registered.headers, registered.authorization, registered.assertion, registered.require_bound)
        assert told == ({}, "remove", False, True)
        (again,) = await client.register([Resource("order:read", "shop", display_name="Orders")])
        assert (again.headers, again.authorization, again.require_bound) == ({}, "remove", True)


async def test_lists_go_over_every_page(database: "Database") -> None:
    wanted = [Resource(f"thing-{number}:read", "things") for number in range(1001)]
    async with control_plane(database) as plane, plane.client() as client:
        await client.register(wanted)

        assert {each.name for each in await client.resources()} == {each.name for each in wanted}


async def test_role_rules_are_written_and_read(database: "Database") -> None:
    async with control_plane(database) as plane, plane.client() as client:
        created = await client.create_role_rule(RULE)
        assert created == RoleRule("finance", "emea", "invoice:read", "read", "allow", "role", created.id)
        other = await client.create_role_rule(RoleRule("mallory", "*", "invoice:read", "*", "deny"))
        assert other.sub_kind == "any"
        assert await client.role_rules(sub="finance", dom="emea", obj="invoice:read") == (created,)

        changed = RoleRule("finance", "emea", "invoice:read", "list", "allow", "role", created.id)
        assert await client.replace_role_rule(changed) == changed
        with pytest.raises(ValueError, match="id"):
            await client.replace_role_rule(RULE)

        assert other.id is not None
        await client.delete_role_rule(other.id)
        assert await client.role_rules() == (changed,)
        with pytest.raises(ApiError) as refused:
            await client.delete_role_rule(other.id)
        assert refused.value.status == 404


async def test_role_bindings_are_written_and_read(database: "Database") -> None:
    async with control_plane(database) as plane, plane.client() as client:
        binding = RoleBinding("alice", "user", "finance", "emea", "2030-01-01T00:00:00Z")
        created = await client.create_role_binding(binding)
        assert (created.user, created.user_kind, created.role, created.dom) == (
            "alice", "user", "finance", "emea",
        )  # fmt: skip
        assert created.expires_at is not None
        assert created.expires_at.startswith("2030-01-01T00:00:00")
        assert await client.role_bindings() == (created,)

        assert created.id is not None
        await client.delete_role_binding(created.id)
        assert await client.role_bindings() == ()


async def test_attribute_policies_are_written_and_read(database: "Database") -> None:
    async with control_plane(database) as plane, plane.client() as client:
        policy = AttributePolicy("Own ones", "invoice:read", "allow", TREE, priority=5)
        created = await client.create_attribute_policy(policy)
        assert (created.domain, created.format, created.priority) == ("*", "json", 5)
        assert created.rule_data == TREE
        assert [warning["code"] for warning in created.warnings] == ["allow_outbids_role_denies"]
        assert await client.attribute_policies(resource="invoice:read") == (created,)
        assert await client.attribute_policies(resource="other") == ()

        assert created.id is not None
        changed = AttributePolicy(
            "Own ones", "invoice:read", "deny", 'resource.owner == "bob"',
            actions=("read", "list"), enabled=False, mode="shadow", format="casbin", id=created.id,
        )  # fmt: skip
        replaced = await client.replace_attribute_policy(changed)
        assert replaced.rule_data == 'resource.owner == "bob"'
        assert (replaced.format, replaced.enabled, replaced.mode) == ("casbin", False, "shadow")
        assert replaced.actions == ("read", "list")

        await client.delete_attribute_policy(created.id)
        assert await client.attribute_policies() == ()
        assert await client.restore_attribute_policy(created.id) == replaced
        assert await client.attribute_policies() == (replaced,)


async def test_numbers_keep_all_their_digits(database: "Database") -> None:
    numbers = [
        Decimal("0.1000000000000000000000000000000000000001"),
        Decimal("12345678901234567890.5"),
        10**40 + 1,
        -(2**63) - 1,
        9007199254740993,
        0.1,
        2.5,
    ]
    async with control_plane(database) as plane, plane.client() as client:
        for number in numbers:
            tree = {"type": "CONDITION", "attribute": "user.limit", "operator": "lt", "value": number}
            created = await client.create_attribute_policy(
                AttributePolicy(f"Below {number}", "invoice:read", "deny", tree)
            )
            assert created.rule_data == tree
            assert await client.replace_attribute_policy(created) == created
            (found,) = [each for each in await client.attribute_policies() if each.id == created.id]
            assert found.rule_data == tree
            assert isinstance(found.rule_data, dict)
            assert type(found.rule_data["value"]) is type(number)


async def test_a_caller_with_a_token_asks_about_itself(database: "Database") -> None:
    async with (
        control_plane(database) as plane,
        plane.client() as admin,
        plane.client("reporting") as reporting,
    ):
        await admin.register([INVOICES])
        owned = AttributePolicy("Sealed", "invoice:read", "deny", TREE)
        sealed = await admin.create_attribute_policy(owned)
        now = admin.policy_revision

        allowed = await reporting.check(resource="invoice:read", action="read", min_revision=now)
        assert (allowed.allowed, allowed.reason) == (True, "rule_matched")
        assert now is not None
        assert allowed.policy_revision >= now
        denied = await reporting.check(
            resource="invoice:read",
            action="read",
            subject="reporting",
            attributes={"resource": {"owner": "alice"}},
            min_revision=now,
        )
        assert (denied.allowed, denied.reason, denied.matched_rule_id) == (False, "rule_matched", sealed.id)
        nothing = await reporting.check(resource="invoice:read", action="write")
        assert (nothing.allowed, nothing.reason, nothing.matched_rule_id) == (False, "no_matching_rule", None)

        with pytest.raises(ApiError) as about_another:
            await reporting.check(resource="invoice:read", action="read", subject="alice")
        assert about_another.value.status == 403
        with pytest.raises(ApiError) as not_admin:
            await reporting.register([INVOICES])
        assert not_admin.value.status == 403


async def test_a_service_key_registers_what_it_may(database: "Database") -> None:
    async with control_plane(database) as plane:
        key = await plane.service_key(
            name="billing",
            scopes=["resources:write"],
            service_name="billing",
            prefixes=["api.example.com/invoices", "/invoices"],
        )
        async with ExtauthzClient(plane.url, key) as registrar:
            (registered,) = await registrar.register([INVOICES])
            assert await registrar.register([INVOICES]) == (registered,)
            with pytest.raises(ApiError) as foreign:
                await registrar.register(
                    [Resource("user:read", "billing", routes=(Route(("GET",), "/users/{id}"),))]
                )
            assert foreign.value.status == 403
            with pytest.raises(ApiError) as rules:
                await registrar.create_role_rule(RULE)
            assert rules.value.status == 403


async def test_a_service_key_asks_about_any_subject(database: "Database") -> None:
    async with control_plane(database) as plane, plane.client() as admin:
        await admin.create_role_rule(RULE)
        key = await plane.service_key(name="asker", scopes=["check"])
        async with ExtauthzClient(plane.url, key) as asker:
            decision = await asker.check(
                subject="carol",
                subject_kind="user",
                domain="emea",
                resource="invoice:read",
                action="read",
                attributes={"user": {"roles": ["finance"]}, "resource": {"owner": "alice"}},
                min_revision=admin.policy_revision,
            )
            assert (decision.allowed, decision.reason) == (True, "rule_matched")
            other = await asker.check(subject="carol", resource="invoice:read", action="read")
            assert (other.allowed, other.reason) == (False, "no_matching_rule")


async def test_a_refusal_has_every_problem(database: "Database") -> None:
    async with control_plane(database) as plane, plane.client() as client:
        bad = Resource("invoice:read", "billing", routes=(Route(("get",), "no-slash"),))
        with pytest.raises(ApiError) as refused:
            await client.register([INVOICES, bad])

        assert refused.value.status == 422
        assert {str(problem["pointer"]) for problem in refused.value.errors} == {
            "/1/routes/0/methods/0",
            "/1/routes/0/path",
        }
        assert await client.resources() == ()


async def test_a_token_is_fetched_once(database: "Database") -> None:
    async with control_plane(database) as plane, plane.client() as client:
        for _ in range(3):
            await client.resources()

        assert plane.provider.token_requests == 1


async def test_a_refused_token_is_replaced_once(database: "Database") -> None:
    async with control_plane(database) as plane, plane.client(attempts=1) as client:
        plane.provider.flaws = ["expired"]
        assert await client.resources() == ()
        assert plane.provider.token_requests == 2

    async with control_plane(database) as plane, plane.client() as client:
        plane.provider.flaws = ["forged", "wrong_audience", "expired"]
        with pytest.raises(ApiError) as refused:
            await client.resources()
        assert refused.value.status == 401
        assert plane.provider.token_requests == 2


async def test_a_wrong_secret_is_not_tried_again(database: "Database") -> None:
    async with control_plane(database) as plane:
        credentials = ClientCredentials(plane.provider.issuer, "operations", "wrong: secret")
        async with ExtauthzClient(plane.url, credentials) as client:
            with pytest.raises(ClientError, match="answered 401 'invalid_client'") as refused:
                await client.resources()
        assert "wrong: secret" not in str(refused.value)
        assert plane.provider.token_requests == 1


async def test_an_unreachable_provider_is_tried_again(database: "Database") -> None:
    async with control_plane(database) as plane:
        async with plane.client(attempts=2) as client:
            await client.resources()
            environment = plane.environment | {"AUTH_SERVER_URL": "http://127.0.0.1:9"}
        async with ExtauthzClient(plane.url, credentials_from(environment), attempts=2) as client:
            with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9/\.well-known"):
                await client.resources()


async def test_declarations_of_an_application_are_registered(database: "Database") -> None:
    app, invoices = FastAPI(), APIRouter(prefix="/invoices")

    @invoices.get("/{number}")
    @resource("invoice:read", default_roles=["reporter"])
    async def read(number: int) -> None: ...

    @invoices.api_route("", methods=["PUT", "POST"])
    @resource("invoice:write")
    async def write() -> None: ...

    app.include_router(invoices, prefix="/v1")
    async with control_plane(database) as plane, plane.client() as admin, plane.client("reporting") as asker:
        registrar = plane.client()
        protect(app, registrar, service_name="billing", host="api.example.com")
        with client_log() as log:
            async with started(app):
                await log.saw("INFO registered at extauthz: invoice:read, invoice:write")
        shown = {
            each.name: [(route.host, route.methods, route.path, route.action) for route in each.routes]
            for each in await admin.resources()
        }
        assert shown == {
            "invoice:read": [("api.example.com", ("GET",), "/v1/invoices/{number}", "read")],
            "invoice:write": [("api.example.com", ("POST", "PUT"), "/v1/invoices", "write")],
        }
        revision = registrar.policy_revision
        decision = await asker.check(resource="invoice:read", action="read", min_revision=revision)
        assert decision.allowed


async def test_the_script_of_the_page_works_as_documented(database: "Database", tmp_path: "Path") -> None:
    (script,) = [sample.text for sample in samples() if sample.title == "manage.py"]
    async with control_plane(database) as plane, plane.client() as client:
        environment = plane.environment | {"HOME": str(tmp_path)}
        assert await run_python(script, environment) == (0, "denied no_matching_rule\n")
        assert await run_python(script, environment) == (0, "denied no_matching_rule\n")
        (asking,) = [sample.text for sample in samples() if sample.title == "ask.py"]
        assert await run_python(asking, environment) == (0, "denied no_matching_rule\n")

        (rule,) = await client.role_rules(sub="manager")
        assert (rule.obj, rule.act, rule.effect) == ("statement:read", "read", "allow")
        await client.create_role_binding(RoleBinding("operations", "user", "manager", "*"))
        assert await run_python(script, environment) == (0, "allowed rule_matched\n")
