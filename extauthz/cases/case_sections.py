"""A section of a case file: its settings, and its tenants with their policies, compiled.

Input: the section, as a document. Output: settings as they were written, snapshots, a directory. Errors:
CaseInvalidError for settings or tenants; what is wrong with policies is a list of problems.
"""

from collections.abc import Mapping

from extauthz.cases.case_members import FLAGS, SETTINGS_MEMBERS
from extauthz.cases.case_values import (
    CaseInvalidError,
    Document,
    object_of,
    refuse_unknown,
    texts_of,
    word_of,
)
from extauthz.compile.directory import Directory
from extauthz.compile.documents.policy_documents import Reading, parse_policy_set
from extauthz.compile.roles.role_model import RoleModel
from extauthz.compile.snapshot import Snapshot, empty
from extauthz.compile.snapshot_building import build
from extauthz.domain.problem import Problem
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode


def compiled_section(
    section: Document, where: str, model: RoleModel
) -> tuple[Mapping[str, Snapshot], list[Problem]]:
    """Compile the policies of every tenant of a section; return the snapshots, and the problems of others.

    Raises:
        CaseInvalidError: the settings are refused.
    """
    settings = settings_of(section, where)
    policies = object_of(section.get("policies", {}), f"{where}, policies")
    saas = is_saas(settings)
    reading = Reading(
        condition_headers=frozenset(texts_of(settings.get("condition_headers", []), where)),
        claim_headers=frozenset(texts_of(settings.get("claim_headers", []), where)),
    )
    snapshots: dict[str, Snapshot] = {}
    problems: list[Problem] = []
    for tenant, document in (policies if saas else {DEFAULT_TENANT: policies}).items():
        parsed = parse_policy_set(document, reading)
        built = parsed if isinstance(parsed, list) else build(tenant, 1, parsed, model)
        if isinstance(built, list):
            problems += [problem.under(f"/{tenant}" if saas else "") for problem in built]
        else:
            snapshots[tenant] = built
    return snapshots, problems


def is_saas(settings: Document) -> bool:
    """Tell whether policies are written by tenant. Raises CaseInvalidError."""
    return word_of(settings, "mode", TenancyMode, TenancyMode.SELFHOST) is TenancyMode.SAAS


def settings_of(section: Document, where: str) -> Document:
    """Return the settings of a section as they were written. Raises CaseInvalidError."""
    settings = object_of(section.get("settings", {}), f"{where}, settings")
    refuse_unknown(settings, f"{where}, settings", SETTINGS_MEMBERS)
    for name in FLAGS:
        if not isinstance(settings.get(name, True), bool):
            # `yes` and `no` are texts, of which neither would be true.
            raise CaseInvalidError(f"{where}, settings, {name}: true or false is needed")
    if type(settings.get("condition_body_max", 0)) is not int:
        raise CaseInvalidError(f"{where}, settings, condition_body_max: a number of bytes is needed")
    return settings


def directory_of(section: Document, where: str, model: RoleModel) -> Directory:
    """Return the directory of a section's tenants.

    Raises:
        CaseInvalidError: settings, tenants or policies are refused.
    """
    compiled, problems = compiled_section(section, where, model)
    if problems:
        raise CaseInvalidError(f"{where}, policies: " + "; ".join(map(str, problems)))
    if not is_saas(object_of(section.get("settings", {}), f"{where}, settings")):
        return Directory(TenancyMode.SELFHOST, compiled)
    snapshots = dict(compiled)
    hosts: dict[str, str] = {}
    suspended: set[str] = set()
    for tenant, entry in object_of(section.get("tenants", {}), f"{where}, tenants").items():
        place = f"{where}, tenants, {tenant}"
        described = object_of(entry or {}, place)
        hosts.update(dict.fromkeys(texts_of(described.get("hosts", []), f"{place}, hosts"), tenant))
        if described.get("suspended", False) is True:
            suspended.add(tenant)
        snapshots.setdefault(tenant, empty(tenant, model))
    return Directory(TenancyMode.SAAS, snapshots, hosts=hosts, suspended=frozenset(suspended))
