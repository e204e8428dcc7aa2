"""Whether a request that is forwarded was checked: yes, no, or it cannot be told from the files."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from extauthz.proxyconfig.findings import Finding


class Coverage(Enum):
    """What a filter, or a list of filters, does with the requests of a route."""

    CHECKED = "each request needs an allow"
    OPEN = "some request passes without one"
    UNKNOWN = "the files do not tell"
    ABSENT = "it is not a check"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A coverage with the findings that explain it, as errors; none when it is CHECKED."""

    coverage: Coverage
    findings: tuple[Finding, ...] = ()


CHECKED = Verdict(Coverage.CHECKED)
ABSENT = Verdict(Coverage.ABSENT)


def in_sequence(verdicts: Iterable[Verdict]) -> Verdict:
    """Combine filters that a request passes one after the other: one check is enough."""
    found = list(verdicts)
    for coverage in (Coverage.CHECKED, Coverage.UNKNOWN, Coverage.OPEN):
        those = [one for one in found if one.coverage is coverage]
        if those and coverage is Coverage.CHECKED:
            return CHECKED
        if those:
            reasons = [one for one in found if one.coverage in {Coverage.UNKNOWN, Coverage.OPEN}]
            return Verdict(coverage, _findings(reasons))
    return ABSENT


def as_alternatives(verdicts: Iterable[Verdict], otherwise: Finding) -> Verdict:
    """Combine what different requests meet: each one has to be a check; `otherwise` says when one is not."""
    found = list(verdicts)
    coverages = {one.coverage for one in found}
    if coverages <= {Coverage.ABSENT}:
        return ABSENT
    if coverages == {Coverage.CHECKED}:
        return CHECKED
    if Coverage.ABSENT in coverages:
        return Verdict(Coverage.OPEN, (otherwise, *_findings(found)))
    is_open = Coverage.OPEN in coverages
    return Verdict(Coverage.OPEN if is_open else Coverage.UNKNOWN, _findings(found))


def _findings(verdicts: Iterable[Verdict]) -> tuple[Finding, ...]:
    return tuple(dict.fromkeys(finding for one in verdicts for finding in one.findings))
