"""Shapes and counts to record."""

import time
from uuid import UUID

from extauthz.domain.ids import uuid7
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.verdict import Rule, RuleKind
from extauthz.recording.documents import Counted
from extauthz.recording.shape import ABSENT, HOST, METHOD, PEER, SUBJECT, Shape, literal
from tests.user_shapes import user_shape

HOUR = int(time.time() // 3600)


def decision_id(number: int, hour: int = HOUR) -> str:
    return uuid7(hour * 3_600_000 + number, number.to_bytes(10, "big"))


def shape(subject: str | None = "alice", order: str = "7", **changes: object) -> Shape:
    slots = {
        SUBJECT: literal(subject),
        HOST: literal("api.example.com"),
        METHOD: literal("GET"),
        PEER: ABSENT,
        "{id}": literal(order),
    }
    given = user_shape(
        slots,
        domain="sales",
        own_roles=("reader",),
        template="/orders/{id}",
        effect=Effect.ALLOW,
        reason=Reason.RULE_MATCHED,
        rule=Rule("rule-1", RuleKind.ROLE),
    )
    return given._replace(**changes)  # type: ignore[arg-type]


def counted(given: Shape, requests: int = 1, hour: int = HOUR, revision: int = 1, number: int = 1) -> Counted:
    decisions = tuple((decision_id(number + each, hour), revision) for each in range(min(requests, 4)))
    return Counted(given, hour, requests, revision, revision, decisions)


INSTANCE = str(UUID(int=7))
