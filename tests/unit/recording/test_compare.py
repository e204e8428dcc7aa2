"""What a draft would change, judged on recorded requests: definite where it can be, else `cannot_say`."""

import pytest

from extauthz.compile.snapshot import Snapshot
from extauthz.domain.reasons import Reason
from extauthz.recording.compare import HOUR_S, Comparison, DecisionChange, Difference, Period
from extauthz.recording.not_known import NotKnown, State
from extauthz.recording.question import question_of
from extauthz.recording.replay_policies import ReplayPolicies
from extauthz.recording.shape import FOLDED, CredentialState, Shape
from tests.recorded_requests import CLERKS, HOUR, ORDERS, Document, condition, order, policy, snapshot_of
from tests.recorded_requests import without_credential as without

LIVE = {"resources": [ORDERS], "role_rules": [CLERKS]}
PUBLIC = ORDERS | {"routes": [ORDERS["routes"][0] | {"authentication": "none"}]}
EVERYONE = CLERKS | {"id": "everyone", "sub": "anonymous"}
SEARCH = {"methods": ["GET"], "path": "/orders/search"}


def difference(
    shape: Shape, live: Snapshot, draft: Snapshot, *, routes_since: bool = False, hour: float = HOUR
) -> Difference:
    comparison = Comparison(ReplayPolicies.of(live), ReplayPolicies.of(draft, live))
    question = question_of(shape, routes_since=routes_since)
    return comparison.difference(question, Period(hour, hour + HOUR_S))


def of_drafts(shape: Shape, draft: dict[str, list[Document]], **live: list[Document]) -> Difference:
    return difference(shape, snapshot_of(**{**LIVE, **live}), snapshot_of(**{**LIVE, **live, **draft}))


def slot_of(found: Difference) -> str | None:
    return None if found.not_known is None else found.not_known.slot


@pytest.mark.parametrize("refused", [None, Reason.TOKEN_EXPIRED])
def test_a_route_made_public_allows_requests_without_a_valid_credential(refused: Reason | None) -> None:
    draft = {"resources": [PUBLIC], "role_rules": [CLERKS, EVERYONE]}
    found = of_drafts(without(order(), refused), draft)
    assert found.change is DecisionChange.NEWLY_ALLOWED
    assert found.draft is not None
    assert found.draft.rule is not None
    assert found.draft.rule.id == "everyone"


def test_a_public_route_made_private_cannot_say_which_requests_had_a_credential() -> None:
    live = snapshot_of(resources=[PUBLIC], role_rules=[CLERKS, EVERYONE])
    unread = without(order())._replace(credential=CredentialState.UNREAD)
    found = difference(unread, live, snapshot_of(**LIVE))
    assert found == Difference(DecisionChange.CANNOT_SAY, not_known=NotKnown("credential"))


def test_a_removed_binding_denies_its_user() -> None:
    binding = {"id": "b1", "user": "alice", "user_kind": "user", "role": "clerk", "dom": "*"}
    draft: dict[str, list[Document]] = {"role_bindings": []}
    assert of_drafts(order(), draft, role_bindings=[binding]).change is DecisionChange.NEWLY_DENIED
    assert (
        of_drafts(order('"17"', "clerk"), draft, role_bindings=[binding]).change is DecisionChange.UNCHANGED
    )
    assert (
        of_drafts(order(subject='"bob"'), draft, role_bindings=[binding]).change is DecisionChange.UNCHANGED
    )


def test_an_attribute_that_was_never_recorded_cannot_be_judged() -> None:
    draft = {"attribute_policies": [policy("level", "allow", condition("user.level", "gte", 3))]}
    assert slot_of(of_drafts(order(), draft)) == "user.level"
    assert of_drafts(order(user__level="2"), draft).change is DecisionChange.UNCHANGED
    assert of_drafts(order(user__level="3"), draft).change is DecisionChange.NEWLY_ALLOWED
    assert of_drafts(order(user__level="absent"), draft).change is DecisionChange.UNCHANGED


def test_a_deny_on_an_attribute_that_was_not_recorded_is_not_taken_for_unknown() -> None:
    draft = {"attribute_policies": [policy("no", "deny", condition("user.level", "lt", 3))]}
    found = of_drafts(order('"17"', "clerk"), draft)
    assert (found.change, found.not_known) == (DecisionChange.CANNOT_SAY, NotKnown("user.level"))


def test_a_condition_that_is_false_without_the_unrecorded_attribute_is_judged() -> None:
    conditions = condition("user.department", "eq", "ops"), condition("user.level", "gte", 3)
    draft = {"attribute_policies": [policy("ops", "allow", *conditions)]}
    assert of_drafts(order(user__department='"sales"'), draft).change is DecisionChange.UNCHANGED
    assert slot_of(of_drafts(order(user__department='"ops"'), draft)) == "user.level"


def test_a_folded_value_that_no_rule_reads_does_not_matter() -> None:
    draft = {"role_rules": [CLERKS | {"sub": "seller"}]}
    assert of_drafts(order(FOLDED, "clerk", subject=FOLDED), draft).change is DecisionChange.NEWLY_DENIED
    assert of_drafts(order(FOLDED, "seller", subject=FOLDED), draft).change is DecisionChange.NEWLY_ALLOWED


@pytest.mark.parametrize(
    ("attribute", "slot"), [("resource.id", "{id}"), ("request.path", "{id}"), ("user.id", "user.id")]
)
def test_a_folded_value_that_a_rule_reads_cannot_be_judged(attribute: str, slot: str) -> None:
    draft = {"attribute_policies": [policy("one", "allow", condition(attribute, "eq", "17"))]}
    found = of_drafts(order(FOLDED, subject=FOLDED), draft)
    assert found == Difference(DecisionChange.CANNOT_SAY, not_known=NotKnown(slot, State.FOLDED))


def test_a_folded_subject_cannot_be_judged_where_rules_or_bindings_name_subjects() -> None:
    named = {"role_rules": [CLERKS, CLERKS | {"id": "bob", "sub": "bob", "sub_kind": "user"}]}
    assert slot_of(of_drafts(order(subject=FOLDED), named)) == "user.id"
    bound = {"role_bindings": [{"id": "b", "user": "bob", "user_kind": "user", "role": "clerk", "dom": "*"}]}
    assert slot_of(of_drafts(order(subject=FOLDED), bound)) == "user.id"
    elsewhere = {
        "role_bindings": [{"id": "b", "user": "bob", "user_kind": "user", "role": "other", "dom": "*"}]
    }
    assert of_drafts(order(subject=FOLDED), elsewhere).change is DecisionChange.UNCHANGED


def test_the_same_candidate_rules_give_the_same_answer_whatever_was_folded() -> None:
    reads = policy("one", "allow", condition("resource.id", "eq", "17"))
    other = {"resources": [ORDERS], "role_rules": [CLERKS, CLERKS | {"id": "else", "obj": "shop:other"}]}
    assert of_drafts(order(FOLDED), other, attribute_policies=[reads]).change is DecisionChange.UNCHANGED


@pytest.mark.parametrize(
    ("operator", "moment", "expected"),
    [
        ("lt", "2026-01-05T10:30:00Z", DecisionChange.CANNOT_SAY),
        ("lt", "2026-01-05T11:00:00Z", DecisionChange.NEWLY_ALLOWED),
        ("lt", "2026-01-05T10:00:00Z", DecisionChange.UNCHANGED),
        ("lte", "2026-01-05T10:00:00Z", DecisionChange.CANNOT_SAY),
        ("eq", "2026-01-05T10:59:59.999999Z", DecisionChange.CANNOT_SAY),
        ("neq", "2026-01-05T11:00:00Z", DecisionChange.NEWLY_ALLOWED),
        ("in", ["2026-01-05T10:00:01Z", "2026-01-06T00:00:00Z"], DecisionChange.CANNOT_SAY),
    ],
)
def test_a_time_within_the_counted_hour_cannot_be_judged(
    operator: str, moment: object, expected: DecisionChange
) -> None:
    draft = {"attribute_policies": [policy("u", "allow", condition("env.time", operator, moment))]}
    found = of_drafts(order(), draft)
    assert found.change is expected
    assert slot_of(found) == ("env.time" if expected is DecisionChange.CANNOT_SAY else None)


def test_hour_and_weekday_are_those_of_the_counted_hour() -> None:
    hours = {"attribute_policies": [policy("h", "allow", condition("env.hour", "eq", 10))]}
    assert of_drafts(order(), hours).change is DecisionChange.NEWLY_ALLOWED
    live = snapshot_of(**LIVE)
    draft = snapshot_of(**LIVE, **hours)
    assert difference(order(), live, draft, hour=HOUR + HOUR_S).change is DecisionChange.UNCHANGED
    mondays = {"attribute_policies": [policy("m", "allow", condition("env.weekday", "eq", 1))]}
    assert of_drafts(order(), mondays).change is DecisionChange.NEWLY_ALLOWED


def test_a_binding_that_ends_within_the_counted_hour_cannot_be_judged() -> None:
    binding = {"id": "b1", "user": "alice", "user_kind": "user", "role": "clerk", "dom": "*"}
    within = {"role_bindings": [binding | {"expires_at": "2026-01-05T10:30:00Z"}]}
    assert slot_of(of_drafts(order(), within)) == "env.time"
    later = {"role_bindings": [binding | {"expires_at": "2026-01-05T11:00:00Z"}]}
    assert of_drafts(order(), later).change is DecisionChange.NEWLY_ALLOWED


def test_a_time_that_the_request_carries_is_compared_within_the_hour_too() -> None:
    read = {"attribute": {"attribute": "user.until", "as": "time"}, "type": "CONDITION", "operator": "gt"}
    draft = {"attribute_policies": [policy("u", "allow", read | {"value": {"attribute": "env.time"}})]}
    assert slot_of(of_drafts(order(user__until='"2026-01-05T10:30:00Z"'), draft)) == "env.time"
    allowed = of_drafts(order(user__until='"2026-01-05T11:00:00Z"'), draft)
    assert allowed.change is DecisionChange.NEWLY_ALLOWED
    assert of_drafts(order(user__until='"2026-01-05T09:00:00Z"'), draft).change is DecisionChange.UNCHANGED


def test_a_folded_segment_does_not_reach_a_literal_route_that_is_as_old_as_the_record() -> None:
    searched = ORDERS | {"routes": [*ORDERS["routes"], SEARCH]}
    live = snapshot_of(resources=[searched], role_rules=[CLERKS])
    draft = snapshot_of(resources=[searched], role_rules=[CLERKS | {"sub": "seller"}])
    assert difference(order(FOLDED, "clerk"), live, draft).change is DecisionChange.NEWLY_DENIED
    found = difference(order(FOLDED, "clerk"), live, draft, routes_since=True)
    assert slot_of(found) == "{id}"


def test_a_folded_segment_may_be_the_literal_of_a_route_that_the_draft_adds() -> None:
    searched = ORDERS | {"routes": [*ORDERS["routes"], SEARCH | {"authentication": "none"}]}
    live, draft = snapshot_of(**LIVE), snapshot_of(resources=[searched], role_rules=[CLERKS, EVERYONE])
    assert slot_of(difference(order(FOLDED), live, draft)) == "{id}"
    assert difference(order('"search"'), live, draft).change is DecisionChange.NEWLY_ALLOWED
    assert difference(order('"17"'), live, draft).change is DecisionChange.UNCHANGED


def test_shadow_policies_decide_nothing_and_hide_nothing() -> None:
    shadow = policy("s", "allow", condition("user.level", "gte", 3), mode="shadow")
    assert of_drafts(order(), {"attribute_policies": [shadow]}).change is DecisionChange.UNCHANGED


def test_an_answer_that_policies_did_not_give_stays_as_it_was() -> None:
    stale = order()._replace(reason=Reason.POLICY_STALE)
    assert of_drafts(stale, {"role_rules": []}).change is DecisionChange.UNCHANGED


def test_another_rule_that_decides_alike_is_a_changed_rule() -> None:
    found = of_drafts(order('"17"', "clerk"), {"role_rules": [CLERKS | {"id": "others"}]})
    assert found.change is DecisionChange.RULE_CHANGED
