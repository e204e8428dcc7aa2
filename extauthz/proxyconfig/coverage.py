"""Whether forwarded requests are checked: `Coverage`, its verdicts, and how verdicts combine.

Input: verdicts of single filters. Output: the verdict of a list of filters, or of alternatives.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from extauthz.proxyconfig.findings import Finding


class Coverage(Enum):
    """How far a filter, or a list of filters, checks the requests of a route."""

    CHECKED = "each request needs an allow"
    OPEN = "some requests are forwarded without an allow"
    UNKNOWN = "the files do not define it"
    ABSENT = "it is not a check"


@dataclass(frozen=True, slots=True)
class CoverageVerdict:
    """A coverage and the findings that explain it; CHECKED and ABSENT have no findings."""

    coverage: Coverage
    findings: tuple[Finding, ...] = ()


CHECKED = CoverageVerdict(Coverage.CHECKED)
ABSENT = CoverageVerdict(Coverage.ABSENT)


def in_sequence(verdicts: Iterable[CoverageVerdict]) -> CoverageVerdict:
    """Return the verdict on filters that process a request one after another: one check is enough."""
    found = list(verdicts)
    for coverage in (Coverage.CHECKED, Coverage.UNKNOWN, Coverage.OPEN):
        those = [one for one in found if one.coverage is coverage]
        if those and coverage is Coverage.CHECKED:
            return CHECKED
        if those:
            reasons = [one for one in found if one.coverage in {Coverage.UNKNOWN, Coverage.OPEN}]
            return CoverageVerdict(coverage, _findings(reasons))
    return ABSENT


def as_alternatives(verdicts: Iterable[CoverageVerdict], otherwise: Finding) -> CoverageVerdict:
    """Return the verdict on filters of which one runs per request: CHECKED only if every one is a check.

    `otherwise` is the finding for the case that one alternative is not a check.
    """
    found = list(verdicts)
    coverages = {one.coverage for one in found}
    if coverages <= {Coverage.ABSENT}:
        return ABSENT
    if coverages == {Coverage.CHECKED}:
        return CHECKED
    if Coverage.ABSENT in coverages:
        return CoverageVerdict(Coverage.OPEN, (otherwise, *_findings(found)))
    is_open = Coverage.OPEN in coverages
    return CoverageVerdict(Coverage.OPEN if is_open else Coverage.UNKNOWN, _findings(found))


def _findings(verdicts: Iterable[CoverageVerdict]) -> tuple[Finding, ...]:
    return tuple(dict.fromkeys(finding for one in verdicts for finding in one.findings))
