"""What sidecars report about bodies, and the warning of a write that needs them."""

from extauthz.compile.documents.warnings import WarningCode, body_not_sent
from extauthz.storage.sidecar_reports import SidecarReports


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def reported(reports: SidecarReports, instance: str, arrived: bool | None, tenant: str = "acme") -> None:
    reports.note_bodies(tenant, instance, arrived)
    reports.hear(tenant, instance)


def test_sidecars_without_bodies_are_counted_until_one_has_received_one() -> None:
    reports = SidecarReports(Clock())
    assert reports.without_bodies("acme") == 0
    reported(reports, "a", False)
    reported(reports, "b", False)
    assert reports.without_bodies("acme") == 2
    assert reports.without_bodies("globex") == 0
    reported(reports, "b", True)
    assert reports.without_bodies("acme") == 0


def test_a_sidecar_that_does_not_say_may_receive_them() -> None:
    reports = SidecarReports(Clock())
    reported(reports, "a", False)
    reported(reports, "b", None)
    assert reports.without_bodies("acme") == 0


def test_a_sidecar_that_is_gone_counts_no_more() -> None:
    clock = Clock()
    reports = SidecarReports(clock)
    reported(reports, "a", True)
    clock.now += 60
    reported(reports, "b", False)
    assert reports.without_bodies("acme") == 1
    clock.now += 60
    reported(reports, "c", True, "globex")
    assert reports.without_bodies("acme") == 0


def test_the_warning_says_why() -> None:
    assert body_not_sent("/routes", longest=65536, sidecars=0) == []
    (off,) = body_not_sent("/routes", longest=0, sidecars=0)
    (one,) = body_not_sent("/rule_data", longest=65536, sidecars=1)
    (some,) = body_not_sent("/rule_data", longest=65536, sidecars=3)
    assert {each.code for each in (off, one, some)} == {WarningCode.BODY_NOT_SENT}
    assert "CONDITION_BODY_MAX=0" in off.message
    assert "the sidecar that reports has received no body" in one.message
    assert "the 3 sidecars that report have received no body" in some.message
