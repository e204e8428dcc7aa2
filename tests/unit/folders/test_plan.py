"""The plan of a folder: which row is which, what changes, and what stays. Pure, without a server."""

import random
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from extauthz.compile.documents.policy_documents import Reading, read_entries
from extauthz.folders.changes import changes
from extauthz.folders.plan import Plan, RowProblem, plan
from extauthz.folders.rows import KINDS, TABLES, PolicyRow, folder_rows, live_row
from tests.random_folders import edited, random_folder

READING = Reading(condition_headers=frozenset({"x-channel"}), claim_headers=frozenset({"x-user-email"}))
RESOURCE: dict[str, Any] = {
    "name": "doc:read",
    "serviceName": "s",
    "routes": [{"methods": ["GET"], "path": "/doc"}],
}
RULE: dict[str, Any] = {
    "id": "r",
    "sub": "a",
    "dom": "*",
    "obj": "doc:read",
    "act": "read",
    "effect": "allow",
}
BINDING: dict[str, Any] = {"id": "b", "user": "u", "user_kind": "user", "role": "a", "dom": "*"}
POLICY: dict[str, Any] = {
    "id": "p",
    "name": "P",
    "resource": "*",
    "effect": "deny",
    "rule_data": {"type": "ALWAYS"},
}
WRITTEN_OUT = RESOURCE["routes"][0] | {"action": "read", "authentication": "required"}
NEVER = {"type": "NOT", "condition": {"type": "ALWAYS"}}
USUAL: dict[str, list[dict[str, Any]]] = {
    "resources": [RESOURCE], "role_rules": [RULE], "role_bindings": [BINDING], "attribute_policies": [POLICY],
}  # fmt: skip
ID = "01900000-0000-7000-8000-{:012}"


def rows(**tables: Any) -> list[PolicyRow]:
    """Return the rows of a folder with one file."""
    problems: list[Any] = []
    found = [
        row
        for table, position, entry, entity in read_entries(tables, READING, problems)
        if isinstance(entry, Mapping) and entity is not None
        for row in folder_rows(entry, entity, "f.yaml", f"/{table}/{position}")
    ]
    assert problems == []
    return found


def shape(path: str) -> str:
    return "/".join("{}" if part.startswith("{") else part for part in path.split("/"))


def claimed(resource: Mapping[str, Any]) -> list[tuple[object, ...]]:
    """Return what the routes of a resource take: there is one of each."""
    return [
        (route.get("host"), shape(route["path"]), method)
        for route in resource["routes"] for method in route["methods"]
    ]  # fmt: skip


class Server:
    """The rows of a server that takes lists of changes, and refuses what contradicts itself."""

    def __init__(self, wanted: Iterable[PolicyRow] = ()) -> None:
        self.rows: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in KINDS}
        self._count = 0
        found = plan(wanted, [], prune=False)
        assert isinstance(found, Plan), found
        self.take(found)

    @property
    def live(self) -> list[PolicyRow]:
        return [
            live_row(kind, {**document, "id": row_id, "created_at": "now", "warnings": []})
            for kind, documents in self.rows.items()
            for row_id, document in documents.items()
        ]

    def take(self, found: Plan) -> None:
        """Apply a plan as the list of changes that it is sent as."""
        for change in changes(found):
            body: Any = change.body
            table = self.rows[body["kind"]]
            if body["action"] == "delete":
                gone = table.pop(body["id"])
                if body["kind"] == "resource":
                    assert not any(rule["obj"] == gone["name"] for rule in self.rows["role_rule"].values())
            else:
                self._count += 1
                table[body.get("id") or ID.format(self._count)] = body["document"]
            self._consistent()

    def _consistent(self) -> None:
        rules = [tuple(rule.values()) for rule in self.rows["role_rule"].values()]
        assert len(rules) == len(set(rules))
        bindings = [tuple(each[name] for name in ("user", "user_kind", "role", "dom"))
                    for each in self.rows["role_binding"].values()]  # fmt: skip
        assert len(bindings) == len(set(bindings))
        claims = [claim for each in self.rows["resource"].values() for claim in claimed(each)]
        assert len(claims) == len(set(claims))


def planned(wanted: list[PolicyRow], live: list[PolicyRow], *, prune: bool = False) -> Plan:
    found = plan(wanted, live, prune=prune)
    assert isinstance(found, Plan), found
    return found


def actions(found: Plan) -> list[tuple[str, str]]:
    return [(step.action, step.kind) for step in found.steps]


def all_rows() -> list[PolicyRow]:
    return rows(**USUAL)


def test_an_empty_server_gets_everything_and_then_nothing_changes() -> None:
    server = Server(all_rows())
    assert actions(planned(all_rows(), [])) == [("create", kind) for kind in KINDS]
    assert planned(all_rows(), server.live, prune=True) == Plan()


@pytest.mark.parametrize(
    ("kind", "changed"),
    [
        ("resource", {"resources": [RESOURCE | {"displayName": "Documents"}]}),
        ("resource", {"resources": [RESOURCE | {"require_bound": True}]}),
        ("attribute_policy", {"attribute_policies": [POLICY | {"priority": 1}]}),
        ("attribute_policy", {"attribute_policies": [POLICY | {"id": ID.format(2), "name": "Other"}]}),
        ("attribute_policy", {"attribute_policies": [POLICY | {"rule_data": NEVER}]}),
        ("role_rule", {"role_rules": [RULE | {"id": ID.format(1), "act": "write"}]}),
    ],
)  # fmt: skip
def test_a_change_is_an_update_of_the_same_row(kind: str, changed: dict[str, Any]) -> None:
    server = Server(all_rows())
    ids = {row.kind: row.id for row in server.live}
    (step,) = planned(rows(**USUAL | changed), server.live).steps
    assert (step.action, step.kind) == ("update", kind)
    assert step.before is not None
    assert step.before.id == ids[kind]


@pytest.mark.parametrize(
    "same",
    [
        {"resources": [RESOURCE | {"displayName": "doc:read", "defaultRoles": [], "public": False}]},
        {"resources": [RESOURCE | {"routes": [WRITTEN_OUT], "id": "any"}]},
        {"role_rules": [RULE | {"id": "another", "sub_kind": "role"}]},
        {"role_rules": [RULE, RULE | {"id": "again"}]},
        {"resources": [RESOURCE | {"defaultRoles": ["a"]}], "role_rules": []},
        {"role_bindings": [BINDING | {"id": "another", "expires_at": None}]},
        {"attribute_policies": [POLICY | {"id": "another", "domain": "*", "actions": ["*"], "priority": 0}]},
    ],
)  # fmt: skip
def test_another_spelling_of_the_same_makes_no_step(same: dict[str, Any]) -> None:
    assert planned(rows(**USUAL | same), Server(all_rows()).live, prune=True) == Plan()


def test_times_are_compared_as_instants_and_a_binding_is_replaced() -> None:
    server = Server(rows(role_bindings=[BINDING | {"expires_at": "2031-01-31T08:00:00.5+01:00"}]))
    same = rows(role_bindings=[BINDING | {"expires_at": "2031-01-31T07:00:00.500Z"}])
    assert planned(same, server.live) == Plan()
    later = planned(rows(role_bindings=[BINDING | {"expires_at": "2031-01-31T07:00:01Z"}]), server.live)
    assert actions(later) == [("replace", "role_binding")]
    assert [change.body["action"] for change in changes(later)] == ["delete", "create"]


def test_two_rules_that_swap_their_ids_are_the_same_rules() -> None:
    other = RULE | {"id": "o", "act": "write"}
    server = Server(rows(role_rules=[RULE, other]))
    ids = {row.document["act"]: row.id for row in server.live}
    swapped = rows(role_rules=[RULE | {"id": ids["write"]}, other | {"id": ids["read"]}])
    assert planned(swapped, server.live, prune=True) == Plan()


def test_a_name_that_several_policies_have_does_not_say_which_one_is_meant() -> None:
    two = [POLICY, POLICY | {"id": "q", "priority": 5}]
    server = Server(rows(attribute_policies=two))
    assert planned(rows(attribute_policies=two), server.live, prune=True) == Plan()
    one_changed = [POLICY, POLICY | {"id": "q", "priority": 6}]
    assert actions(planned(rows(attribute_policies=one_changed), server.live)) == [
        ("update", "attribute_policy")
    ]
    both = [POLICY | {"priority": 7}, POLICY | {"id": "q", "priority": 6}]
    problems = plan(rows(attribute_policies=both), server.live, prune=False)
    assert isinstance(problems, list)
    assert all(str(ID.format(1)) in each.message for each in problems)
    assert [each.row.pointer for each in problems] == ["/attribute_policies/0", "/attribute_policies/1"]
    pruned = planned(rows(attribute_policies=both), server.live, prune=True)
    assert (
        sorted(actions(pruned)) == [("create", "attribute_policy")] * 2 + [("delete", "attribute_policy")] * 2
    )
    by_id = [each | {"id": row.id} for each, row in zip(both, server.live, strict=True)]
    assert (
        actions(planned(rows(attribute_policies=by_id), server.live)) == [("update", "attribute_policy")] * 2
    )


def test_a_binding_with_two_expiries_cannot_be_had() -> None:
    twice = rows(role_bindings=[BINDING, BINDING | {"id": "c", "expires_at": "2031-01-31T07:00:00Z"}])
    (problem,) = plan(twice, [], prune=False)  # type: ignore[misc]
    assert isinstance(problem, RowProblem)
    assert "f.yaml /role_bindings/0; the server holds one" in problem.message


def test_what_the_folder_does_not_have_stays_or_is_pruned() -> None:
    server = Server(all_rows())
    kept = planned(rows(role_bindings=[BINDING]), server.live)
    assert kept.steps == ()
    assert [row.kind for row in kept.extra] == ["resource", "role_rule", "attribute_policy"]
    pruned = planned(rows(role_bindings=[BINDING]), server.live, prune=True)
    assert actions(pruned) == [("delete", kind) for kind in ("resource", "role_rule", "attribute_policy")]
    assert [change.body["kind"] for change in changes(pruned)] == [
        "role_rule",
        "attribute_policy",
        "resource",
    ]
    assert (pruned.extra, pruned.needed) == ((), ())


@pytest.mark.parametrize(
    "naming", [{"role_rules": [RULE]}, {"attribute_policies": [POLICY | {"resource": "doc:read"}]}]
)
def test_a_resource_that_rules_of_the_folder_name_is_not_pruned(naming: dict[str, Any]) -> None:
    server = Server(rows(resources=[RESOURCE], **naming))
    found = planned(rows(**naming), server.live, prune=True)
    assert (found.steps, found.extra) == ((), ())
    assert [row.label for row in found.needed] == ["doc:read"]


def public(*, in_force: bool = True, shown: bool = True) -> list[PolicyRow]:
    """Return the live rows of a public resource; without `in_force` one of its two rules was deleted."""
    server = Server(rows(resources=[RESOURCE | {"public": True}]))
    live = server.live if in_force else [row for row in server.live if row.document.get("sub") != "anonymous"]
    if shown:
        return live
    resource = {name: value for name, value in live[0].document.items() if name != "public"}
    warnings = [{"code": "public_not_in_force"}]
    return [live_row("resource", {**resource, "id": live[0].id, "warnings": warnings}), *live[1:]]


OPTIONAL = RESOURCE | {"routes": [{"methods": ["GET"], "path": "/doc", "authentication": "optional"}]}
ALL = RULE | {"id": "all", "sub": "*"}
ANONYMOUS = RULE | {"id": "anonymous", "sub": "anonymous"}


def test_a_public_resource_is_its_two_rules() -> None:
    assert planned(rows(resources=[OPTIONAL | {"public": True}]), public(), prune=True) == Plan()
    written_out = rows(resources=[OPTIONAL], role_rules=[ALL, ANONYMOUS])
    assert planned(written_out, public(), prune=True) == Plan(), "as an export writes it"


def test_a_resource_that_is_not_public_any_more_loses_both_rules_also_without_prune() -> None:
    found = planned(rows(resources=[OPTIONAL]), public())
    assert actions(found) == [("update", "resource"), ("delete", "role_rule"), ("delete", "role_rule")]
    assert "public" not in found.steps[0].document
    assert found.extra == ()


def test_one_rule_of_a_public_resource_that_the_folder_names_is_kept() -> None:
    found = planned(rows(resources=[OPTIONAL], role_rules=[ALL]), public(), prune=True)
    assert actions(found) == [("delete", "role_rule")]
    renamed = rows(resources=[OPTIONAL | {"displayName": "D"}], role_rules=[ALL])
    (update, _) = planned(renamed, public(), prune=True).steps
    assert update.document["public"] is True, "without it the server would delete the other rule"


def test_a_public_resource_without_one_of_its_rules_is_changed_without_losing_the_other() -> None:
    live = public(in_force=False, shown=False)
    changed = planned(rows(resources=[OPTIONAL | {"displayName": "D"}], role_rules=[ALL]), live)
    (step,) = changed.steps
    assert step.document["public"] is True
    again = planned(rows(resources=[OPTIONAL | {"public": True}]), live)
    assert actions(again) == [("update", "resource"), ("create", "role_rule")]


def test_routes_go_from_one_resource_to_another() -> None:
    other = {
        "name": "other",
        "serviceName": "s",
        "routes": [{"methods": ["GET", "POST"], "path": "/other/{id}"}],
    }
    server = Server(rows(resources=[RESOURCE, other]))
    swapped = rows(
        resources=[
            RESOURCE | {"routes": [{"methods": ["POST", "GET"], "path": "/other/{x}"}]},
            other | {"routes": RESOURCE["routes"]},
        ]
    )  # fmt: skip
    found = planned(swapped, server.live)
    assert actions(found) == [("update", "resource")] * 2
    server.take(found)
    assert planned(swapped, server.live) == Plan()


@pytest.mark.parametrize("shard", range(4))
def test_random_folders_end_where_they_say(shard: int) -> None:
    for seed in range(shard, 60, 4):
        rng = random.Random(seed)
        first = random_folder(rng)
        server = Server(rows(**first))
        folder = rows(**first)
        assert planned(folder, server.live, prune=True) == Plan()
        if seed % 2:
            _with_live_ids(first, folder, server)
        second = edited(rng, first, random_folder(rng))
        found = planned(rows(**second), server.live, prune=True)
        wanted = {claim for each in second["resources"] for claim in claimed(each)}
        if any(not wanted.isdisjoint(claimed(row.document)) for row in found.needed):
            # A resource that stays has a route of another one of the folder: the server refuses that.
            continue
        server.take(found)
        after = planned(rows(**second), server.live, prune=True)
        assert (after.steps, after.extra) == ((), ()), seed
        # What is left is what the folder says, apart from resources that its rules need.
        left = {(row.kind, row.value) for row in server.live} - {
            (row.kind, row.value) for row in after.needed
        }
        assert left == {(row.kind, row.value) for row in rows(**second)}, seed
        assert planned(rows(**second), server.live).steps == ()


def _with_live_ids(policies: dict[str, Any], folder: list[PolicyRow], server: Server) -> None:
    """Give each rule and policy of a folder the id of its live row, as an export does."""
    for kind in ("role_rule", "attribute_policy"):
        ids = {repr(row.document): row.id for row in server.live if row.kind == kind}
        written = [row for row in folder if row.kind == kind and row.id is not None]
        for entry, row in zip(policies[TABLES[kind]], written, strict=True):
            # An equal rule that the folder has twice is one live row.
            entry["id"] = ids.pop(repr(row.document), entry["id"])
