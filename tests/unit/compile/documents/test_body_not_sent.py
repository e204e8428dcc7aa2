"""The warning of a write that needs bodies: what sidecars say of them, and what is not known."""

import pytest

from extauthz.compile.documents.warnings import WarningCode, body_not_sent
from extauthz.domain.sidecar_report import ReportedBodies


@pytest.mark.parametrize(
    ("reported", "longest", "said"),
    [
        (ReportedBodies(), 0, "CONDITION_BODY_MAX=0: none is read"),
        (
            ReportedBodies(sidecars=2, reading_none=2),
            65536,
            "sidecars that report (2) have CONDITION_BODY_MAX=0",
        ),
        (ReportedBodies(sidecars=3, unreadable=2), 65536, "body came to 2 of the sidecars that report (3)"),
        (ReportedBodies(sidecars=3, unreadable=1, without=2), 0, "came to 1 of the sidecars that report (3)"),
        (
            ReportedBodies(sidecars=3, without=1, reading_none=1),
            65536,
            "that reports (3) has seen",
        ),
    ],
)
def test_the_warning_says_why(reported: ReportedBodies, longest: int, said: str) -> None:
    (warning,) = body_not_sent("/routes", reported, longest=longest)
    assert (warning.code, warning.pointer) == (WarningCode.BODY_NOT_SENT, "/routes")
    assert said in warning.message


@pytest.mark.parametrize(
    "reported",
    [
        ReportedBodies(),
        # None has had a check.
        ReportedBodies(sidecars=3),
        ReportedBodies(sidecars=2, reading_none=1),
        # One does not say, and may receive them.
        ReportedBodies(sidecars=2, silent=1, unreadable=1),
        ReportedBodies(sidecars=3, arrived=1, unreadable=1, without=1),
    ],
)
def test_nothing_is_said_where_it_is_not_known_or_bodies_arrive(reported: ReportedBodies) -> None:
    assert body_not_sent("/routes", reported, longest=65536) == []
