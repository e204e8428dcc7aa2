"""Counting of shapes: exact counts, bounded values and memory, what is left out, what waits to be taken."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from extauthz.compile.directory import Directory
from extauthz.domain.path import CanonicalPath
from extauthz.domain.policy import AuthenticationRequirement
from extauthz.domain.principal import ANONYMOUS, Authentication
from extauthz.domain.reasons import Reason
from extauthz.domain.request import ContextTarget, Malformed
from extauthz.domain.tenancy import TenancyMode, TenantBinding, UnmappedPolicy
from extauthz.domain.verdict import Allowed, AllowedByName, Denied, PolicyVersion, Preflight
from extauthz.recording.bounds import KEPT_ALLOWS, KEPT_DENIES, MAX_LITERALS, MAX_LITERALS_READ
from extauthz.recording.counter import CUT_EVERY_S, ShapeCounter
from extauthz.recording.documents import BatchWriter, Counted
from extauthz.recording.shape import ABSENT, FOLDED, UNKNOWN, CredentialState, literal
from tests.builders import ALICE, READ_INVOICE, RULE_1, request_facts
from tests.recorded_requests import condition, policy, snapshot_of

NOW = 1_767_607_200.0
HOUR = int(NOW // 3600)
FOUND = READ_INVOICE._replace(template="/invoices/{id}")
POLICIES = PolicyVersion(1, "epoch", 0)


def decision(number: int = 1) -> str:
    return f"01931f3c-8d5a-7c3e-9a51-{number:012x}"


def facts(path: str = "/invoices/42", **changes: Any) -> Any:
    parsed = CanonicalPath.parse(path)
    assert isinstance(parsed, CanonicalPath)
    return request_facts()._replace(path=parsed, **changes)


def allowed(number: int = 1, path: str = "/invoices/42", **changes: Any) -> Allowed:
    given = Allowed(decision(number), RULE_1, ALICE, ALICE.roles, FOUND, POLICIES, facts(path))
    return given._replace(**changes)


def denied(number: int = 1, reason: Reason = Reason.UNMAPPED_ROUTE, **changes: Any) -> Denied:
    given = Denied(decision(number), reason, facts(), ALICE, tenant="default", policies=POLICIES)
    return given._replace(**changes)


class Recorded:
    """A counter with policies that read these attributes."""

    def __init__(self, *read: str, always: Iterable[str] = (), max_shapes: int = 20_000, **more: Any) -> None:
        documents = [policy(f"p{at}", "deny", condition(name, "eq", "x")) for at, name in enumerate(read)]
        self.snapshot = snapshot_of(attribute_policies=documents)
        self.lost: list[int] = []
        self.counter = ShapeCounter(
            lambda: Directory(TenancyMode.SELFHOST, {"default": self.snapshot}),
            unmapped=UnmappedPolicy.DENY,
            binding=TenantBinding.HOST,
            attributes=always,
            max_shapes=max_shapes,
            max_octets=more.get("max_octets", 16 << 20),
            on_loss=self.lost.append,
        )

    def count(self, *verdicts: Any, ts: float = NOW, entrance: str = "grpc") -> None:
        for verdict in verdicts:
            self.counter.count(verdict, ts, entrance)

    def taken(self) -> list[Counted]:
        self.counter.close()
        found: list[Counted] = []
        while (some := self.counter.take()) is not None:
            found += some
        return found


def test_equal_requests_are_one_shape() -> None:
    recorded = Recorded()
    later = PolicyVersion(7, "epoch", 0)
    recorded.count(*(allowed(number) for number in range(1, 7)), allowed(7, policies=later))

    (one,) = recorded.taken()
    assert (one.hour, one.requests, one.first, one.last) == (HOUR, 7, 1, 7)
    assert one.decisions == tuple((decision(number), 7 if number == 7 else 1) for number in range(4, 8))
    assert len(one.decisions) == KEPT_ALLOWS
    assert dict(one.shape.slots) == {
        "request.host": literal(facts().host),
        "request.method": literal("GET"),
        "request.source.principal": ABSENT,
        "user.id": literal(ALICE.id),
        "{id}": literal("42"),
    }


def test_a_deny_keeps_its_last_decisions() -> None:
    recorded = Recorded()
    recorded.count(*(denied(number) for number in range(1, 41)))

    (one,) = recorded.taken()
    assert [each for each, _ in one.decisions] == [decision(number) for number in range(41 - KEPT_DENIES, 41)]


@pytest.mark.parametrize(
    "changed",
    [
        allowed(principal=replace(ALICE, id="bob")),
        allowed(principal=replace(ALICE, roles=("other",))),
        allowed(principal=replace(ALICE, domain="other")),
        allowed(principal=replace(ALICE, authentication=Authentication.METADATA)),
        allowed(principal=replace(ALICE, confirmation="x" * 43)),
        allowed(path="/invoices/43"),
        allowed(request=facts(host="other.example")),
        allowed(request=facts(method="POST")),
        allowed(request=facts(source_principal="spiffe://a/b")),
        allowed(request=facts(context=ContextTarget(resource="invoice:read", action="read"))),
        allowed(rule=RULE_1._replace(id="rule-2")),
        denied(target=FOUND, reason=Reason.NO_MATCHING_RULE),
    ],
)
def test_requests_that_differ_in_what_judging_reads_are_two_shapes(changed: Any) -> None:
    recorded = Recorded()
    recorded.count(allowed(), changed)

    first, second = recorded.taken()
    assert first.shape != second.shape


def test_head_is_counted_as_get() -> None:
    recorded = Recorded()
    recorded.count(allowed(), allowed(request=facts(method="HEAD")))

    assert [each.requests for each in recorded.taken()] == [2]


@pytest.mark.parametrize(
    ("verdict", "state"),
    [
        (allowed(), CredentialState.VERIFIED),
        (denied(reason=Reason.TOKEN_MISSING, principal=None), CredentialState.NONE),
        (denied(reason=Reason.TENANT_SUSPENDED, principal=None), CredentialState.NONE),
        (denied(reason=Reason.POLICY_STALE, principal=None), CredentialState.NONE),
        (denied(reason=Reason.TOKEN_EXPIRED, principal=None), CredentialState.REFUSED),
        (denied(reason=Reason.CREDENTIALS_CONFLICT, principal=None), CredentialState.REFUSED),
        (denied(reason=Reason.TOKEN_CLAIMS_INVALID), CredentialState.VERIFIED),
        (denied(reason=Reason.NO_MATCHING_RULE, principal=ANONYMOUS, target=FOUND), CredentialState.NONE),
        (
            allowed(
                principal=ANONYMOUS,
                target=FOUND._replace(authentication=AuthenticationRequirement.NONE),
            ),
            CredentialState.UNREAD,
        ),
        (Preflight(decision(), FOUND, POLICIES, facts(preflight="PUT")), CredentialState.NONE),
    ],
)
def test_the_state_of_the_credential_is_recorded(verdict: Any, state: CredentialState) -> None:
    recorded = Recorded()
    recorded.count(verdict)

    (one,) = recorded.taken()
    assert one.shape.credential is state
    is_verified = state is CredentialState.VERIFIED
    assert (one.shape.kind is not None) is is_verified
    assert (one.shape.slot("user.id") != ABSENT) is is_verified


@pytest.mark.parametrize(
    "verdict",
    [
        denied(tenant=None),
        denied(policies=PolicyVersion(None, None, None)),
        denied(request=Malformed(Reason.REQUEST_MALFORMED, "x")),
        denied(request=None),
        AllowedByName(decision(), RULE_1, ALICE, ALICE.roles, FOUND, POLICIES),
    ],
)
def test_what_no_policies_were_asked_is_left_out(verdict: Any) -> None:
    recorded = Recorded()
    recorded.count(verdict)

    assert recorded.taken() == []
    assert recorded.lost == []


def test_attributes_of_rules_and_of_the_setting_are_recorded_and_no_others() -> None:
    claims = {"level": 3, "team": ["a"], "other": "secret", "address": {"city": "Bern"}}
    request = facts(
        query="page=2&token=secret&page2=1",
        headers={"x-region": "eu", "x-other": "secret"},
        unknown_headers=frozenset({"x-twice"}),
    )
    recorded = Recorded(
        "user.level",
        "request.query.page",
        "request.headers.x-region",
        always=("user.address.city", "user.none", "request.query.none", "request.headers.x-twice"),
    )
    recorded.count(allowed(request=request, principal=replace(ALICE, claims=claims)))

    (one,) = recorded.taken()
    slots = {name: text for name, text in one.shape.slots if name not in {"user.id", "{id}"}}
    assert slots == {
        "request.headers.x-region": '"eu"',
        "request.headers.x-twice": UNKNOWN,
        "request.host": literal(request.host),
        "request.method": '"GET"',
        "request.query.none": ABSENT,
        "request.query.page": '"2"',
        "request.source.principal": ABSENT,
        "user.address.city": '"Bern"',
        "user.level": "3",
        "user.none": ABSENT,
    }
    assert "secret" not in repr(one)


def test_values_of_other_types_are_other_shapes() -> None:
    recorded = Recorded("user.level")
    for level in (1, "1", True, [1], None):
        recorded.count(allowed(principal=replace(ALICE, claims={"level": level})))

    assert len(recorded.taken()) == 5


def test_attributes_that_are_asked_for_are_recorded_from_the_next_table_on() -> None:
    recorded = Recorded()
    recorded.count(allowed())
    recorded.counter.record_also({"default": frozenset({"user.team"})})
    (before,) = recorded.taken()
    recorded.count(allowed())

    (after,) = recorded.taken()
    assert before.shape.slot("user.team") is None
    assert after.shape.slot("user.team") == ABSENT


def test_what_a_decision_read_is_recorded_whatever_the_policies_are_now() -> None:
    recorded = Recorded()
    recorded.count(allowed(attributes_used={"user.level": None}, policies=PolicyVersion(9, "epoch", 0)))

    (one,) = recorded.taken()
    assert one.shape.slot("user.level") == ABSENT


@pytest.mark.parametrize(("read", "bound"), [((), MAX_LITERALS), (("resource.id",), MAX_LITERALS_READ)])
def test_values_beyond_the_bound_are_folded_and_counts_stay_exact(read: Any, bound: int) -> None:
    recorded = Recorded(*read, max_shapes=100_000, max_octets=1 << 30)
    asked = bound + 500
    for number in range(asked):
        recorded.count(allowed(number, f"/invoices/{number}"))

    found = recorded.taken()
    assert len(found) == bound + 1
    assert sum(each.requests for each in found) == asked
    (folded,) = (each for each in found if each.shape.slot("{id}") == FOLDED)
    assert folded.requests == 500


def test_a_long_value_is_folded() -> None:
    recorded = Recorded()
    recorded.count(denied(request=facts("/" + "x" * 3000)))

    (one,) = recorded.taken()
    assert one.shape.slot("request.path") == FOLDED


def test_hours_are_counted_apart() -> None:
    recorded = Recorded()
    recorded.count(allowed(1), allowed(2))
    recorded.count(allowed(3), ts=NOW + 3600)
    recorded.count(allowed(4))

    assert {each.hour: each.requests for each in recorded.taken()} == {HOUR: 3, HOUR + 1: 1}


def test_a_full_table_is_handed_over_and_then_requests_are_lost_and_counted() -> None:
    recorded = Recorded(max_shapes=20)
    for number in range(25):
        recorded.count(allowed(number, f"/invoices/{number}"))

    assert sum(recorded.lost) == 5
    # What has a shape is still counted.
    recorded.count(allowed(99, "/invoices/15"))
    assert sum(recorded.lost) == 5
    found = recorded.taken()
    assert sum(each.requests for each in found) == 21


def test_a_table_is_bounded_in_octets() -> None:
    recorded = Recorded(max_octets=40_000)
    for number in range(200):
        recorded.count(denied(number, request=facts(f"/{number}/{'x' * 900}")))

    assert sum(recorded.lost) > 100


def test_a_table_is_handed_over_when_its_time_has_come() -> None:
    recorded = Recorded()
    recorded.counter.tick(NOW)
    recorded.count(allowed())
    recorded.counter.tick(NOW + CUT_EVERY_S / 2)
    assert recorded.counter.take() is None
    recorded.counter.tick(NOW + CUT_EVERY_S)
    handed_over = recorded.counter.take()
    assert handed_over is not None
    assert [each.requests for each in handed_over] == [1]
    assert recorded.counter.take() is None


def test_a_clock_that_went_back_does_not_stop_handing_over() -> None:
    recorded = Recorded()
    recorded.counter.tick(NOW)
    recorded.count(allowed())
    recorded.counter.tick(NOW - 86_400)

    assert recorded.counter.take() is not None


def test_at_the_end_every_tick_hands_over() -> None:
    recorded = Recorded()
    recorded.counter.tick(NOW)
    recorded.counter.end()
    for number in (1, 2):
        recorded.count(allowed(number))
        recorded.counter.tick(NOW + number)

    assert [each.requests for each in recorded.taken()] == [1, 1]


def test_batches_are_bounded_and_numbered() -> None:
    recorded = Recorded("resource.id", max_shapes=100_000, max_octets=1 << 30)
    for number in range(2_500):
        recorded.count(allowed(number, f"/invoices/{number}"))
    writer = BatchWriter(decision())
    batches = [batch for one in recorded.taken() if (batch := writer.add(one)) is not None]
    last = writer.finish()
    assert last is not None
    batches.append(last)

    assert [batch["number"] for batch in batches] == [1, 2, 3]
    assert [len(batch["shapes"]) for batch in batches] == [1000, 1000, 500]
    assert {len(batch["contexts"]) for batch in batches} == {1}
    assert writer.finish() is None
