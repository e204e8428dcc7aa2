"""A snapshot that was changed is the snapshot that would have been built; the one before stays as it was."""

import os
import random
from collections.abc import Iterable
from typing import Any, Final

import pytest

from extauthz.cases.decision_cases import CaseRunner
from extauthz.compile.directory import Directory
from extauthz.compile.documents.policy_documents import Reading, parse_policy_set
from extauthz.compile.snapshot import Snapshot, empty
from extauthz.compile.snapshot_building import PolicyChange, Removal, build, derive
from extauthz.domain.policy import AttributePolicy, Entity, PolicySet, Resource, RoleBinding, RoleRule
from extauthz.domain.tenancy import TenancyMode
from tests.property.generators import random_policy_set, random_request
from tests.property.vocabulary import HEADERS
from tests.shipped_model import MODEL

VERIFY = os.environ.get("EXTAUTHZ_VERIFY") == "1"
SEQUENCES = 2_000 if VERIFY else 60
STEPS: Final = 8
REQUESTS: Final = 12

Document = dict[str, Any]
Held = dict[tuple[type[Entity], str], Entity]


def drawn_entities(rng: random.Random) -> list[Entity]:
    """Draw the policies of one tenant, unmapped paths among their resources."""
    drawn = random_policy_set(rng)
    while drawn["settings"]["mode"] == "saas":
        drawn = random_policy_set(rng)
    policies = parse_policy_set(drawn["policies"], Reading(condition_headers=frozenset(HEADERS)))
    assert isinstance(policies, PolicySet)
    return [*policies.resources, *policies.rules(), *policies.role_bindings]


def key_of(entity: Entity) -> tuple[type[Entity], str]:
    return type(entity), entity.name if isinstance(entity, Resource) else entity.id


def drawn_changes(rng: random.Random, held: Held) -> list[PolicyChange]:
    """Draw additions, replacements, removals and moves of routes, sometimes several of one entity."""
    others = drawn_entities(rng)
    changes: list[PolicyChange] = [
        other for other in rng.sample(others, min(len(others), rng.randint(0, 6))) if rng.random() < 0.8
    ]
    for kind, name in rng.sample(sorted(held, key=repr), min(len(held), rng.randint(0, 4))):
        changes.append(Removal(kind, name))
    resources = [entity for entity in held.values() if isinstance(entity, Resource)]
    if len(resources) > 1 and rng.random() < 0.5:
        # What one resource gives up another one takes, in either order.
        one, other = rng.sample(resources, 2)
        moved = [
            Resource(one.name, one.service, one.routes[1:]),
            Resource(other.name, other.service, (*other.routes, *one.routes[:1])),
        ]
        rng.shuffle(moved)
        changes += moved
    rng.shuffle(changes)
    return changes


def applied(held: Held, changes: Iterable[PolicyChange]) -> Held:
    result = dict(held)
    for change in changes:
        if isinstance(change, Removal):
            result.pop((change.entity, change.id), None)
        else:
            result[key_of(change)] = change
    return result


def built(held: Held, revision: int) -> Snapshot | None:
    entities = list(held.values())
    policies = PolicySet(
        resources=tuple(entity for entity in entities if isinstance(entity, Resource)),
        role_rules=tuple(entity for entity in entities if isinstance(entity, RoleRule)),
        role_bindings=tuple(entity for entity in entities if isinstance(entity, RoleBinding)),
        attribute_policies=tuple(entity for entity in entities if isinstance(entity, AttributePolicy)),
    )
    snapshot = build("default", revision, policies, MODEL)
    return snapshot if isinstance(snapshot, Snapshot) else None


def answers(snapshot: Snapshot, requests: Iterable[Document]) -> list[Document]:
    runner = CaseRunner({"unmapped": "path"}, Directory(TenancyMode.SELFHOST, {"default": snapshot}))
    return [runner.answer(request) for request in requests]


def parts(snapshot: Snapshot) -> tuple[object, ...]:
    """Return what equal snapshots have in common, without compiled conditions and the order of routes."""
    policies = {
        key: (
            {name: found.priority for name, found in cell.policies.items()},
            [found.id for group in (*cell.groups.enforced, *cell.groups.shadow) for found in group.all],
        )
        for key, cell in snapshot.policies.cells.items()
    }
    routes = snapshot.routes
    for resource in snapshot.resources_by_name.values():
        routes = routes.without_resource(resource)
    return (
        snapshot.revision,
        snapshot.roles,
        snapshot.bindings,
        snapshot.path_denies,
        policies,
        routes,
        snapshot.policy_digest.text,
    )


@pytest.mark.timeout(3600 if VERIFY else 120)
@pytest.mark.parametrize("shard", range(4))
def test_a_changed_snapshot_is_the_built_one_and_leaves_its_predecessor_alone(shard: int) -> None:
    for seed in range(shard, SEQUENCES, 4):
        rng = random.Random(seed)
        held: Held = {key_of(entity): entity for entity in drawn_entities(rng)}
        snapshot = built(held, 1)
        assert snapshot is not None
        for revision in range(2, STEPS):
            changes = drawn_changes(rng, held)
            requests = drawn_requests(rng, held.values())
            before = answers(snapshot, requests)
            digest = snapshot.digest()
            derived = derive(snapshot, revision, changes)
            rebuilt = built(applied(held, changes), revision)
            assert isinstance(derived, Snapshot) is (rebuilt is not None), f"seed {seed}, {derived}"
            assert answers(snapshot, requests) == before
            assert snapshot.digest() == digest == snapshot.policy_digest.text
            if rebuilt is not None and isinstance(derived, Snapshot):
                held, snapshot = applied(held, changes), derived
                assert parts(derived) == parts(rebuilt), f"seed {seed}, revision {revision}"
                requests = drawn_requests(rng, held.values())
                assert answers(derived, requests) == answers(rebuilt, requests)


def drawn_requests(rng: random.Random, entities: Iterable[Entity]) -> list[Document]:
    routes = [
        {"path": route.path, "methods": list(route.methods)}
        for entity in entities
        if isinstance(entity, Resource)
        for route in entity.routes
    ]
    asked_of: Document = {
        "settings": {"mode": "selfhost"},
        "policies": {"resources": [{"routes": routes}]},
    }
    return [random_request(rng, asked_of) for _ in range(REQUESTS)]


def test_removing_everything_leaves_the_empty_snapshot() -> None:
    for seed in range(40):
        rng = random.Random(seed)
        held: Held = {key_of(entity): entity for entity in drawn_entities(rng)}
        snapshot = built(held, 1)
        assert snapshot is not None
        removals = [Removal(*key) for key in held]
        rng.shuffle(removals)
        for removal in removals:
            left = derive(snapshot, 1, [removal])
            assert isinstance(left, Snapshot)
            snapshot = left
        assert snapshot == empty("default", MODEL, 1)
