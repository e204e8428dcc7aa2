"""The result of a replay: exact counts, groups, and examples that say why."""

from extauthz.recording.compare import HOUR_S, Comparison, Period
from extauthz.recording.question import question_of
from extauthz.recording.replay_policies import ReplayPolicies
from extauthz.recording.report import MAX_EXAMPLES, MAX_GROUPS, Json, Report
from extauthz.recording.shape import FOLDED, Shape, literal
from tests.recorded_requests import CLERKS, HOUR, ORDERS, Document, condition, order, policy, snapshot_of
from tests.recorded_requests import without_credential as without


def result(
    counted: list[tuple[Shape, int]], live: dict[str, list[Document]], draft: dict[str, list[Document]]
) -> Json:
    sides = snapshot_of(**live), snapshot_of(**draft)
    policies = ReplayPolicies.of(sides[0]), ReplayPolicies.of(sides[1], sides[0])
    comparison, report = Comparison(*policies), Report(*policies)
    for shape, requests in counted:
        report.begin()
        question = question_of(shape, routes_since=False)
        difference = comparison.difference(question, Period(HOUR, HOUR + HOUR_S))
        report.add(question, difference, requests, HOUR)
    return report.result()


LIVE: dict[str, list[Document]] = {"resources": [ORDERS], "role_rules": [CLERKS]}
DRAFT = LIVE | {
    "role_rules": [CLERKS | {"id": "sellers", "sub": "seller"}],
    "attribute_policies": [policy("vips", "allow", condition("user.level", "gte", 3), priority=2)],
}
LEVEL = {"user__level": "1"}


def test_requests_and_subjects_are_counted_in_groups() -> None:
    counted = [
        (order('"17"', "clerk", **LEVEL), 5),
        (order('"18"', "clerk", **LEVEL), 2),
        (order('"17"', "clerk", subject='"bob"', **LEVEL), 1),
        (order('"17"', "seller", **LEVEL), 40),
        (order('"17"', user__level="7"), 3),
        (order('"17"', **LEVEL), 1000),
        (order('"17"', "other"), 11),
    ]
    found = result(counted, LIVE, DRAFT)
    assert found["shapes"] == 7
    assert found["requests"] == 1062
    assert found["unchanged"] == {"requests": 1000}
    denied, allowed = found["newly_denied"], found["newly_allowed"]
    assert (denied["requests"], denied["subjects"], denied["subjects_complete"]) == (8, 2, True)
    assert denied["groups"]["rule"] == [
        {"rule": {"id": "clerks", "kind": "role"}, "requests": 8, "subjects": 2}
    ]
    assert denied["groups"]["role"] == [{"role": "clerk", "requests": 8, "subjects": 2}]
    assert (allowed["requests"], allowed["subjects"]) == (43, 1)
    assert allowed["groups"]["rule"] == [
        {"rule": {"id": "sellers", "kind": "role"}, "requests": 40, "subjects": 1},
        {"rule": {"id": "vips", "kind": "attribute"}, "requests": 3, "subjects": 1},
    ]
    assert allowed["groups"]["resource"] == [{"resource": "shop:orders", "requests": 43, "subjects": 1}]
    assert allowed["groups"]["route"] == [{"route": "/orders/{id}", "requests": 43, "subjects": 1}]
    cannot_say = found["cannot_say"]
    assert cannot_say["requests"] == 11
    assert cannot_say["because"] == [{"slot": "user.level", "state": "not recorded", "requests": 11}]


def test_an_example_says_what_was_asked_and_why_each_side_answers_so() -> None:
    [example] = result([(order('"17"', "clerk", **LEVEL), 5)], LIVE, DRAFT)["newly_denied"]["examples"]
    assert example == {
        "at": "2026-01-05T10:00:00.000000Z",
        "requests": 5,
        "method": "GET",
        "host": "shop.example",
        "path": "/orders/17",
        "route": "/orders/{id}",
        "resource": "shop:orders",
        "action": "read",
        "kind": "user",
        "subject": "alice",
        "domain": None,
        "roles": ["clerk"],
        "live": {
            "decision": "allow",
            "reason": "rule_matched",
            "rule": {"id": "clerks", "kind": "role"},
            "because": "role rule clerks allows role 'clerk' every action on 'shop:orders'",
        },
        "draft": {
            "decision": "deny",
            "reason": "no_matching_rule",
            "rule": None,
            "because": "no rule allows the action 'read' on 'shop:orders'",
        },
    }


def test_an_attribute_policy_is_explained_with_its_priority() -> None:
    [example] = result([(order(user__level="7"), 1)], LIVE, DRAFT)["newly_allowed"]["examples"]
    assert example["draft"]["because"] == (
        "attribute policy vips (priority 2) allows every action on 'shop:orders': its conditions hold"
    )


def test_a_folded_request_is_shown_without_its_values() -> None:
    found = result([(order(FOLDED, "seller", subject=FOLDED, **LEVEL), 9)], LIVE, DRAFT)["newly_allowed"]
    assert (found["requests"], found["subjects"], found["subjects_complete"]) == (9, 0, False)
    assert found["examples"][0]["path"] == "/orders/{id}"
    assert found["examples"][0]["subject"] is None


def test_a_request_without_a_credential_has_no_subject_to_count() -> None:
    public = ORDERS | {"routes": [ORDERS["routes"][0] | {"authentication": "optional"}]}
    draft = LIVE | {"resources": [public], "role_rules": [CLERKS | {"sub": "anonymous"}]}
    found = result([(without(order()), 3)], LIVE, draft)["newly_allowed"]
    assert (found["requests"], found["subjects"], found["subjects_complete"]) == (3, 0, True)
    assert found["groups"]["role"] == [{"role": "anonymous", "requests": 3, "subjects": 0}]


def test_groups_and_examples_are_bounded_and_counts_stay_exact() -> None:
    counted = [
        (order('"17"', "seller", f"role-{number:03}", subject=literal(f"u{number}"), **LEVEL), 1)
        for number in range(300)
    ]
    found = result(counted, LIVE, DRAFT)["newly_allowed"]
    assert (found["requests"], found["subjects"]) == (300, 300)
    assert len(found["groups"]["role"]) == MAX_GROUPS
    assert found["groups"]["role"][0] == {"role": "seller", "requests": 300, "subjects": 300}
    assert len(found["examples"]) <= MAX_EXAMPLES
