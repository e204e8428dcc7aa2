"""What an import wrote is read as policies, so that nothing leaves it that a sidecar would refuse.

A document that is refused (a name that is too long with the others, a condition with too many nodes) is taken
out and named; where it denies, or gives a role, nothing is imported.
"""

from collections.abc import Mapping
from typing import Final

from extauthz.cases.decision_cases import CaseRunner
from extauthz.compile.directory import Directory
from extauthz.compile.documents.policy_documents import Reading, parse_policy_set
from extauthz.compile.roles.role_model import RoleModel
from extauthz.compile.snapshot import Snapshot
from extauthz.compile.snapshot_building import build
from extauthz.domain.problem import Problem
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode
from extauthz.importing.outcome import TABLES, Consequence, Imported, NotTaken

_SIMPLER: Final = "write it by hand, or in parts"


def check(imported: Imported, model: RoleModel) -> Snapshot | None:
    """Take out what does not compile; return the compiled documents, None where the import is refused."""
    headers = imported.settings.get("CONDITION_HEADERS", "")
    reading = Reading(condition_headers=frozenset(filter(None, headers.split(","))))
    while not imported.refused:
        parsed = parse_policy_set(imported.policies(), reading)
        built = parsed if isinstance(parsed, list) else build(DEFAULT_TENANT, 1, parsed, model)
        if isinstance(built, Snapshot):
            return built
        _take_out(imported, built)
    return None


def _take_out(imported: Imported, problems: list[Problem]) -> None:
    places: dict[tuple[str, int], str] = {}
    for problem in problems:
        _, table, number, *_rest = (*problem.pointer.split("/"), "", "")
        if table not in TABLES or not number.isdigit():
            imported.not_taken.append(
                NotTaken("", None, "all documents", "", str(problem), _SIMPLER, Consequence.NOTHING_IMPORTED)
            )
            return
        places.setdefault((table, int(number)), problem.message)
    origins = {place: imported.entries[place[0]][place[1]] for place in places}
    for table, entries in imported.entries.items():
        imported.entries[table] = [
            origin for position, origin in enumerate(entries) if (table, position) not in places
        ]
    for (table, position), message in sorted(places.items()):
        origin = origins[table, position]
        effect = (
            Consequence.LEFT_OUT if _only_allows(table, origin.document) else Consequence.NOTHING_IMPORTED
        )
        imported.not_taken.append(
            NotTaken(
                origin.comment, None, str(origin.document.get("id", table)), "", message, _SIMPLER, effect
            )
        )


def _only_allows(table: str, document: Mapping[str, object]) -> bool:
    return table in {"role_rules", "attribute_policies"} and document.get("effect") == "allow"


def runner_of(snapshot: Snapshot) -> CaseRunner:
    """Return what answers cases on the compiled documents."""
    return CaseRunner({}, Directory(TenancyMode.SELFHOST, {DEFAULT_TENANT: snapshot}))


def differences(imported: Imported, snapshot: Snapshot) -> list[str]:
    """Judge the cases on the compiled documents; return where the answer is not the source's."""
    runner = runner_of(snapshot)
    found: list[str] = []
    for case in imported.cases:
        result = runner.run(case, "case")
        found += [f"{result.name}: {difference}" for difference in result.differences]
    return found
