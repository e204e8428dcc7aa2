"""Every credential of every tenant at everything of every other, through real Envoy: none is allowed.

Each cell says what is to come of it. That only what was granted reached the upstream, once and as the right
tenant's, is asserted for every request (`TenantMesh.judged`).
"""

import json
import time
from itertools import permutations, product
from typing import Any

import pytest

from extauthz.demo.calls import DecisionLogReader
from tests.e2e.raw_http import Reply, http2, http2_request, request
from tests.e2e.tenant_doors import DOORS, GRPC_DOORS, HOST, TOKEN, UNOWNED
from tests.e2e.tenant_firms import (
    ALL_TENANTS,
    ALLOW,
    DEPARTMENTS,
    DORMANT,
    FIRMS,
    MEMBERS,
    NAMING,
    NOTICES,
    OPEN,
    ORDERS,
    PEOPLE,
    Firm,
    Seen,
    at_orders,
    granted,
    refused,
)
from tests.e2e.tenant_mesh import TenantMesh
from tests.tokens import AUDIENCE, SigningKey, jwks


def notices(slug: str) -> Seen:
    verdict = NOTICES[slug]
    return granted(slug, None) if verdict == ALLOW else refused(verdict)


def test_the_tables_distinguish_any_two_tenants() -> None:
    for one, other in permutations(FIRMS, 2):
        assert sum(ORDERS[one][member] != ORDERS[other][member] for member in PEOPLE) >= 4
        assert any(ORDERS[one][member] == ALLOW != ORDERS[other][member] for member in PEOPLE)


@pytest.mark.parametrize("door", DOORS)
def test_every_credential_is_decided_at_every_host_by_its_tenant(tenants: TenantMesh, door: str) -> None:
    for caller, owner, member in product(tenants.firms.values(), tenants.firms.values(), MEMBERS):
        seen = tenants.ask(owner.host, caller.credential(member), door=door)
        assert seen == at_orders(caller, owner.slug, member), (caller.slug, owner.slug, member)


@pytest.mark.parametrize("door", DOORS)
def test_an_anonymous_request_is_judged_by_the_owner_of_the_host(tenants: TenantMesh, door: str) -> None:
    for slug, firm in tenants.firms.items():
        assert tenants.ask(firm.host, path="/notices/7", door=door) == notices(slug), slug
        expected = {OPEN: granted(OPEN, None), DORMANT: refused("tenant_suspended")}
        assert tenants.ask(firm.host, door=door) == expected.get(slug, refused("token_missing")), slug
    assert tenants.ask(UNOWNED, path="/notices/7", door=door) == refused("unmapped_route")


def test_conditions_are_those_of_the_hosts_owner(tenants: TenantMesh) -> None:
    for caller, owner, department in product(FIRMS, FIRMS, DEPARTMENTS.values()):
        firm = tenants.firms[caller]
        credential = firm.credential("alice", department=department)
        expected = refused("tenant_mismatch")
        if caller == owner:
            own = DEPARTMENTS[owner] == department
            expected = granted(owner, "alice") if own else refused("no_matching_rule")
        seen = tenants.ask(tenants.firms[owner].host, credential, path="/reports/7")
        assert seen == expected, (caller, owner, department)


@pytest.mark.parametrize("path", ["/claimed", "/some/thing", "/", "/orders/7/items"])
def test_routes_for_hosts_of_other_tenants_and_wildcards_allow_nothing(
    tenants: TenantMesh, path: str
) -> None:
    claimer = tenants.firms[OPEN]
    # What it claims works where it may.
    assert tenants.ask(claimer.host, claimer.credential("alice"), path=path) == granted(OPEN, "alice")
    assert tenants.ask(claimer.host, path=path) == granted(OPEN, None)
    for slug, door in product(FIRMS, DOORS):
        owner = tenants.firms[slug]
        assert tenants.ask(owner.host, path=path, door=door) == refused("token_missing"), slug
        assert tenants.ask(owner.host, owner.credential("alice"), path=path, door=door) == refused(
            "unmapped_route"
        )
        for member in ("alice", "robot"):
            seen = tenants.ask(owner.host, claimer.credential(member), path=path, door=door)
            assert seen == refused("tenant_mismatch"), slug
    # Covered by its '*.local', '*.globex.local' and routes without a host, and without an owner.
    for host in (UNOWNED, "x.local", "x.globex.local", "local"):
        assert tenants.ask(host, claimer.credential("alice"), path=path) == refused("unmapped_route"), host
        assert tenants.ask(host, path=path) == refused("unmapped_route"), host


def test_the_control_plane_gives_no_host_and_no_issuer_to_two(tenants: TenantMesh) -> None:
    hosts, provider = f"/admin/tenants/{OPEN}/hosts", f"/admin/tenants/{OPEN}/identity-providers"
    for taken in ("acme.local", "ACME.local", "acme.local.", "acme.local:443"):
        assert tenants.operator.ask("PUT", hosts, {"hosts": ["mallory.local", taken]}).status == 409, taken
    for covering in ("*.local", "*", "*.acme.local", "acme.*"):
        assert tenants.operator.ask("PUT", hosts, {"hosts": ["mallory.local", covering]}).status == 422, (
            covering
        )
    issuer = {"issuer_url": tenants.firms["acme"].provider.issuer, "audience": "any", "active": False}
    assert tenants.operator.ask("POST", provider, issuer).status == 409
    assert tenants.operator.ask("GET", f"/admin/tenants/{OPEN}").document["hosts"] == ["mallory.local"]


# context_extensions


def test_the_proxy_names_the_tenant_and_the_host_is_not_asked(tenants: TenantMesh) -> None:
    hosts = [*(firm.host for firm in tenants.firms.values()), UNOWNED]
    for caller, named, host in product(tenants.firms.values(), ALL_TENANTS, hosts):
        seen = tenants.ask(host, caller.credential("alice"), route=f"tenant {named}")
        assert seen == at_orders(caller, named, "alice"), (caller.slug, named, host)
    for named, host in product(ALL_TENANTS, hosts):
        assert tenants.ask(host, path="/notices/7", route=f"tenant {named}") == notices(named), (named, host)


@pytest.mark.parametrize("door", GRPC_DOORS)
def test_the_proxy_names_tenant_resource_and_action(tenants: TenantMesh, door: str) -> None:
    for caller, named, member in product(tenants.firms.values(), ALL_TENANTS, MEMBERS):
        seen = tenants.ask(
            caller.host, caller.credential(member), route=f"orders of {named}", path="/any/where", door=door
        )
        assert seen == at_orders(caller, named, member), (caller.slug, named, member)


def test_the_proxy_names_resource_and_action_of_the_hosts_owner(tenants: TenantMesh) -> None:
    for caller, owner, member in product(tenants.firms.values(), tenants.firms.values(), MEMBERS):
        seen = tenants.ask(owner.host, caller.credential(member), route="orders", path="/any/where")
        assert seen == at_orders(caller, owner.slug, member), (caller.slug, owner.slug, member)
    assert tenants.ask("acme.local", route="orders", path="/any/where") == refused("token_missing")


@pytest.mark.parametrize("door", GRPC_DOORS)
def test_an_unknown_tenant_of_the_proxy_is_denied(tenants: TenantMesh, door: str) -> None:
    routes = (
        "tenant unknown",
        "tenant empty",
        "tenant in capitals",
        "every tenant",
        "orders of unknown",
    )
    for route, host, member in product(routes, ("acme.local", UNOWNED), ("alice", "robot")):
        for firm in tenants.firms.values():
            seen = tenants.ask(host, firm.credential(member), route=route, door=door)
            assert seen == refused("unmapped_route"), (route, host, firm.slug)
        assert tenants.ask(host, path="/notices/7", route=route, door=door) == refused("unmapped_route")


def test_partial_targets_and_targets_of_another_tenant_are_unmapped(tenants: TenantMesh) -> None:
    for caller, owner in product(tenants.firms.values(), FIRMS):
        host = tenants.firms[owner].host
        for route in ("resource alone", "action alone", "resource unknown"):
            expected = "unmapped_route" if caller.slug == owner else "tenant_mismatch"
            seen = tenants.ask(host, caller.credential("alice"), route=route)
            assert seen == refused(expected), (caller.slug, owner, route)
    acme, globex = tenants.firms["acme"], tenants.firms["globex"]
    alone = "resource alone of acme"
    assert tenants.ask(UNOWNED, acme.credential("alice"), route=alone) == refused("unmapped_route")
    assert tenants.ask(UNOWNED, globex.credential("alice"), route=alone) == refused("tenant_mismatch")
    # A resource of one tenant is none of another that calls none so.
    assert tenants.ask(acme.host, acme.credential("bob"), route="only acme's") == granted("acme", "bob")
    assert tenants.ask(globex.host, globex.credential("bob"), route="only acme's") == refused(
        "unmapped_route"
    )
    of_globex = "only acme's of globex"
    assert tenants.ask(acme.host, globex.credential("bob"), route=of_globex) == refused("unmapped_route")
    assert tenants.ask(acme.host, acme.credential("bob"), route=of_globex) == refused("tenant_mismatch")


def test_other_context_extensions_name_no_tenant(tenants: TenantMesh) -> None:
    acme, globex = tenants.firms["acme"], tenants.firms["globex"]
    assert tenants.ask(acme.host, acme.credential("alice"), route="others") == granted("acme", "alice")
    assert tenants.ask(acme.host, globex.credential("bob"), route="others") == refused("tenant_mismatch")


# Hosts


def test_every_spelling_of_a_host_belongs_to_its_owner(tenants: TenantMesh) -> None:
    for slug, (caller, member) in product(FIRMS, product(tenants.firms.values(), ("alice", "bob", "robot"))):
        host = f"{slug}.local"
        for spelling in (host, host.upper(), host.title(), f"{host}:8443", f"{host}.", f"{host}.:80"):
            seen = tenants.ask(spelling, caller.credential(member))
            assert seen == at_orders(caller, slug, member), (spelling, caller.slug, member)


def test_a_target_in_absolute_form_is_the_host_that_counts(tenants: TenantMesh) -> None:
    for caller, owner in product(FIRMS, FIRMS):
        firm, target = tenants.firms[caller], f"http://{owner}.local/orders/7".encode()
        for host in (b"acme.local", b"globex.local", b"initech.local", UNOWNED.encode()):
            # RFC 9112 3.2.2: the host of the target replaces that of `Host`.
            seen = tenants.send(request(target, firm.credential("alice"), host=host))
            assert seen == at_orders(firm, owner, "alice"), (caller, owner, host)


def test_a_host_that_can_be_read_twice_is_refused(tenants: TenantMesh) -> None:
    for caller in tenants.firms.values():
        for host in (
            b"acme.local@globex.local", b"acme.local, globex.local", b"acme.local globex.local",
            b"acme.local/globex.local", b"acme.local\\globex.local", b"acme.local#globex.local",
            b"acme.local%00globex.local", b"acme.local..", b".acme.local", b"acme.local:0",
            b"acme.local:x", b"", b"*.local", b"acme%2elocal", "acmé.local".encode(), b"[acme.local]",
        ):  # fmt: skip
            seen = tenants.send(request(b"/orders/7", caller.credential("alice"), host=host))
            assert seen.status in {400, 404}, (caller.slug, host, seen)
        two = request(b"/orders/7", b"Host: globex.local", caller.credential("alice"), host=b"acme.local")
        assert tenants.send(two).status == 400


def test_http2_names_the_host_in_its_authority(tenants: TenantMesh) -> None:
    for caller, owner, other in product(tenants.firms.values(), FIRMS, FIRMS):
        name, _, value = caller.credential("alice").partition(b": ")
        fields = http2_request(b"/orders/7", (name, value), (b"host", f"{other}.local".encode()),
                               host=f"{owner}.local".encode())  # fmt: skip
        body = http2(tenants.ports[HOST], fields)
        seen = tenants.judged(Reply(403 if Reply(0, body).arrival is None else 200, body))
        assert seen == at_orders(caller, owner, "alice"), (caller.slug, owner, other)


# The binding by tokens


def test_with_the_setting_of_the_operator_the_tenant_of_the_token_owns_unowned_hosts(
    tenants: TenantMesh,
) -> None:
    for (slug, firm), member in product(tenants.firms.items(), MEMBERS):
        for host in (UNOWNED, "x.acme.local", "acme.local.evil.example", "acme", "127.0.0.1"):
            seen = tenants.ask(host, firm.credential(member), door=TOKEN)
            assert seen == firm.orders(member), (slug, member, host)
            assert tenants.ask(host, firm.credential(member)) == refused("unmapped_route"), (
                slug,
                member,
                host,
            )
    for path in ("/notices/7", "/orders/7", "/claimed"):
        assert tenants.ask(UNOWNED, path=path, door=TOKEN) == refused("unmapped_route")
    for slug in FIRMS:
        # The claimer's route is for this host, and not for the tokens of others.
        credential = tenants.firms[slug].credential("alice")
        assert tenants.ask(UNOWNED, credential, path="/claimed", door=TOKEN) == refused("unmapped_route")
        for other in set(FIRMS) - {slug}:
            credential = tenants.firms[slug].credential("bob", **dict.fromkeys(NAMING, other))
            assert tenants.ask(UNOWNED, credential, door=TOKEN) == tenants.firms[slug].orders("bob")


# Changes


def test_a_suspended_tenant_can_be_resumed_and_suspended_again(tenants: TenantMesh) -> None:
    firm = tenants.firms[DORMANT]
    try:
        tenants.suspend(firm, "active")
        for door in DOORS:
            assert tenants.ask(firm.host, firm.credential("alice"), door=door) == granted(DORMANT, "alice")
            assert tenants.ask(firm.host, firm.credential("robot"), door=door) == granted(
                DORMANT, firm.robot_id
            )
            assert tenants.ask(firm.host, path="/notices/7", door=door) == granted(DORMANT, None)
            assert tenants.ask(firm.host, tenants.firms["acme"].credential("alice"), door=door) == (
                refused("tenant_mismatch")
            )
    finally:
        tenants.suspend(firm, "suspended")
    for door, member in product(DOORS, MEMBERS):
        assert tenants.ask(firm.host, firm.credential(member), door=door) == refused("tenant_suspended")
        assert tenants.ask("acme.local", firm.credential(member), door=door) == refused("tenant_mismatch")
    assert firm.rest.ask("GET", "/api/v1/resources").status == 403


def test_hosts_and_issuers_that_move_to_another_tenant_carry_no_access(tenants: TenantMesh) -> None:
    giver, taker = tenants.firms[OPEN], tenants.firms["acme"]
    theirs, ours = giver.credential("alice"), taker.credential("alice")
    assert tenants.ask(giver.host, theirs) == granted(OPEN, "alice")
    assert tenants.ask(giver.host, ours) == refused("tenant_mismatch")
    try:
        tenants.give(giver)
        tenants.give(taker, taker.host, giver.host)
        assert tenants.ask(giver.host, theirs) == refused("tenant_mismatch")
        assert tenants.ask(giver.host, giver.credential("robot")) == refused("tenant_mismatch")
        assert tenants.ask(giver.host, ours) == granted("acme", "alice")
        assert tenants.ask(giver.host, path="/claimed") == refused("token_missing")
        tenants.trust(giver, None)
        tenants.trust(taker, giver)
        # Verified and remembered as the other tenant's until now.
        assert tenants.ask(giver.host, theirs) == granted("acme", "alice")
        assert tenants.ask(giver.host, giver.credential("bob")) == taker.orders("bob")
        assert tenants.ask(taker.host, ours) == refused("token_unknown_issuer")
        assert tenants.ask(UNOWNED, theirs, door=TOKEN) == granted("acme", "alice")
    finally:
        tenants.trust(taker, taker)
        tenants.trust(giver, giver)
        tenants.give(taker, taker.host)
        tenants.give(giver, giver.host)
    assert tenants.ask(giver.host, theirs) == granted(OPEN, "alice")
    assert tenants.ask(taker.host, ours) == granted("acme", "alice")


def test_two_registered_issuers_of_one_tenant_are_each_read_by_their_own_form(tenants: TenantMesh) -> None:
    acme, globex = tenants.firms["acme"], tenants.firms["globex"]
    path = f"/admin/tenants/{acme.slug}/identity-providers"
    own = SigningKey.es256("second", serial=77)
    second = {
        "issuer_template": "spiffe://{domain}", "issuer_values": ["acme.example", "acme.test"],
        "jwks": json.loads(jwks(own)), "audiences": [AUDIENCE], "subject_claims": ["oid", "sub"],
        "roles": [{"claim": "scope", "shape": "space"}], "max_lifetime": 3600,
    }  # fmt: skip
    made = tenants.operate("POST", path, second)

    def ask(firm: Firm, **claims: Any) -> Seen:
        token = acme.credential("sam", signing=own, iss="spiffe://acme.example", **claims)
        return tenants.ask(firm.host, token)

    try:
        tenants.settled(acme, made.revision)
        assert tenants.ask(acme.host, acme.credential("alice")) == granted("acme", "alice")
        assert ask(acme, oid="o-1", scope="openid clerk") == granted("acme", "o-1")
        assert ask(acme, scope="openid") == refused("no_matching_rule")
        assert ask(acme, roles=["clerk"]) == refused("no_matching_rule")
        assert ask(acme, scope="clerk", exp=int(time.time()) + 9000) == refused("token_claims_invalid")
        assert ask(globex, scope="clerk") == refused("tenant_mismatch")
        # Neither issuer's key verifies for the other.
        forged = acme.credential("alice", signing=own)
        assert tenants.ask(acme.host, forged).reason in {"token_bad_signature", "token_unknown_key"}
        forged = acme.credential("alice", iss="spiffe://acme.test")
        assert tenants.ask(acme.host, forged).reason in {"token_bad_signature", "token_unknown_key"}
        rival = {"issuer": "spiffe://acme.test", "jwks": second["jwks"], "audiences": "any"}
        there = tenants.operator.ask("POST", path.replace(acme.slug, globex.slug), rival)
        assert there.status == 409
    finally:
        gone = tenants.operate("DELETE", f"{path}/{made.document['id']}")
        tenants.settled(acme, gone.revision)
    assert ask(acme, scope="clerk") == refused("token_unknown_issuer")
    assert tenants.ask(acme.host, acme.credential("alice")) == granted("acme", "alice")


# What is written down


def test_the_decision_log_names_the_owner_and_a_rule_of_the_owner(tenants: TenantMesh) -> None:
    since = {door: DecisionLogReader(tenants.log(door)) for door in DOORS}
    asked: list[tuple[str, str, str, str, str]] = []
    for door, caller, owner, member in product(DOORS, ALL_TENANTS, ALL_TENANTS, MEMBERS):
        tenants.ask(tenants.firms[owner].host, tenants.firms[caller].credential(member), door=door)
        assert tenants.decision_id is not None
        asked.append((door, tenants.decision_id, caller, owner, member))
    for door, decision_id, caller, owner, member in asked:
        line = since[door].line(decision_id)
        assert line is not None
        expected = at_orders(tenants.firms[caller], owner, member)
        assert (line["tenant"], line["host"], line["status"]) == (owner, f"{owner}.local", expected.status)
        assert line["decision"] == ("allow" if expected.status == 200 else "deny")
        by_rule = expected.reason in {None, "rule_matched"}
        rule = line["matched_rule_id"]
        assert rule in tenants.firms[owner].rules if by_rule else rule is None, (caller, owner, member)
