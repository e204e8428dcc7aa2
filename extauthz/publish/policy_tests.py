"""Policy tests on compiled policies: which cases fail, and which rules no case decides by.

A case is judged as a request from a proxy is, with the default settings of a sidecar, at the tenant's own
policies.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from extauthz.cases.case_values import CaseInvalidError
from extauthz.cases.decision_cases import CaseRunner
from extauthz.compile.directory import Directory
from extauthz.compile.snapshot import Snapshot
from extauthz.domain.policy import Mode
from extauthz.domain.tenancy import TenancyMode
from extauthz.storage import policy_tests
from extauthz.storage.outcome import Clash, Withheld
from extauthz.storage.rows import Document
from extauthz.storage.write import Change

MAX_NAMED: Final = 1_000


@dataclass(frozen=True, slots=True)
class TestResult:
    """What a test came to: differences from what it expects (none: it passes), and the rules that decided."""

    __test__ = False

    id: str
    name: str
    differences: tuple[str, ...]
    rules: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the answer is the expected one."""
        return not self.differences


def run_all(snapshot: Snapshot, tests: Sequence[Document]) -> list[TestResult]:
    """Run tests on the policies of a tenant."""
    directory = Directory(TenancyMode.SAAS, {snapshot.tenant: snapshot})
    runner = CaseRunner({}, directory, owner=snapshot.tenant)
    return [_run(runner, test) for test in tests]


def _run(runner: CaseRunner, test: Document) -> TestResult:
    name, expected = str(test.get("name")), test.get("expect")
    try:
        got = runner.answer(test, where="case")
    except CaseInvalidError as error:
        # Stored by another version of the program.
        return TestResult(str(test["id"]), name, (f"cannot be read: {error}",), ())
    wanted = expected if isinstance(expected, dict) else {}
    differences = [
        f"{member}: expected {wanted[member]!r}, got {got.get(member)!r}"
        for member in wanted
        if wanted[member] != got.get(member)
    ]
    if "decision" not in wanted:
        differences.append("decision: nothing is expected")
    shadow = got["shadow"]
    assert isinstance(shadow, list)
    decided = [got["rule"], *(each["rule_id"] for each in shadow)]
    return TestResult(
        str(test["id"]), name, tuple(differences), tuple(str(rule) for rule in decided if rule is not None)
    )


def untested(snapshot: Snapshot, results: Sequence[TestResult]) -> list[tuple[str, str]]:
    """Return kind and id of each rule in force that decided in no test, at most `MAX_NAMED`."""
    decided = {rule for result in results for rule in result.rules}
    found: list[tuple[str, str]] = []
    for policy_id, policy in snapshot.policies_by_id.items():
        in_force = policy.enabled and policy.mode in {Mode.ENFORCE, Mode.SHADOW}
        if in_force and policy_id not in decided:
            found.append(("attribute_policy", policy_id))
    for rule_id in snapshot.role_rules_by_id:
        if len(found) >= MAX_NAMED:
            break
        if rule_id not in decided:
            found.append(("role_rule", rule_id))
    return sorted(found[:MAX_NAMED])


async def failures(change: Change, snapshot: Snapshot) -> Withheld | None:
    """Return the refusal of policies that fail tests of their tenant; it names every such test."""
    tests = await policy_tests.every(change.connection, change.tenant)
    if not tests:
        return None
    results = await asyncio.to_thread(run_all, snapshot, tests)
    clashes = [
        Clash(0, result.id, f"{result.name!r}: {'; '.join(result.differences)}")
        for result in results
        if not result.passed
    ]
    if not clashes:
        return None
    return Withheld("policy_tests_failed", "policy tests fail with this change", tuple(clashes))
