"""Decision cases: policies, requests and the answers expected of them (the format of `tests/cases/`).

A case runs through the same `judge` as a request from a proxy; only the credentials are given as read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, TypeVar

from extauthz.cases.case_members import (
    CASE_MEMBERS,
    FLAGS,
    SECTION_MEMBERS,
    SETTINGS_MEMBERS,
    SHOWN_ONLY,
    unknown_members,
)
from extauthz.cases.case_requests import (
    LONGEST_BODY,
    RequestInvalidError,
    asked_by_preflight,
    read_case_request,
)
from extauthz.compile.directory import Directory
from extauthz.compile.documents.policy_documents import Reading, parse_policy_set
from extauthz.compile.documents.policy_files import read_documents
from extauthz.compile.documents.warnings import likely_mistakes
from extauthz.compile.fields import Fields
from extauthz.compile.roles.role_model import RoleModel
from extauthz.compile.snapshot import Snapshot, empty
from extauthz.compile.snapshot_building import build
from extauthz.decide.by_name import NamedQuestion, judge_by_name, read_one_name
from extauthz.decide.identity import Rejected, TokenPolicy
from extauthz.decide.judge import CheckPolicy, judge_identified
from extauthz.decide.tokens.certificate_binding import confirmation
from extauthz.decide.tokens.claims import ClaimRejected, freeze_claims, token_domain, token_roles
from extauthz.domain.names import name_problem
from extauthz.domain.policy import PolicySet
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.problem import Problem
from extauthz.domain.provider_settings import excluded_role_problem
from extauthz.domain.reasons import Reason
from extauthz.domain.request import Malformed
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode, TenantBinding, UnmappedPolicy
from extauthz.domain.time_text import parse_time
from extauthz.domain.verdict import Denied, NamedVerdict, Verdict
from extauthz.domain.workload import peer_problem
from extauthz.settings import CorsPreflight

Document = Mapping[str, object]
_Word = TypeVar("_Word", bound=StrEnum)

DEFAULT_NOW: Final = "2026-01-05T10:00:00Z"
_ROLES_CLAIM: Final = "realm_access.roles"
_DOMAIN_CLAIM: Final = "dom"
_EXCLUDED: Final = ("offline_access", "uma_authorization")


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case, or one refused policy set: its name, and what differs (empty: nothing).

    `pointer` is its place in the section, in the file where `run_case_text` yields it. `got` is the answer.
    """

    name: str
    differences: tuple[str, ...]
    pointer: str = field(default="", compare=False)
    got: Mapping[str, object] = field(default_factory=dict, compare=False)


class CaseInvalidError(ValueError):
    """A case file that is not one; the text names the place."""


def run_case_text(text: bytes, model: RoleModel) -> Iterator[CaseResult]:
    """Run every case of a file's text.

    Raises:
        CaseInvalidError: the text is not a case file; cases before the place have been yielded.
    """
    sections = read_documents(text, is_json=False, aliases=True)
    if isinstance(sections, Problem):
        raise CaseInvalidError(str(sections))
    for number, section in enumerate(sections):
        place = f"/{number}" if len(sections) > 1 else ""
        for result in run_section(_object(section, f"section {number}"), f"section {number}", model):
            yield replace(result, pointer=place + result.pointer)


def case_warnings(text: bytes) -> Iterator[str]:
    """Yield what the policies of a case file hardly mean as they are written."""
    sections = read_documents(text, is_json=False, aliases=True)
    for number, section in enumerate([] if isinstance(sections, Problem) else sections):
        if not isinstance(section, Mapping) or "refused" in section:
            continue
        settings, policies = section.get("settings", {}), section.get("policies", {})
        if not isinstance(settings, Mapping) or not isinstance(policies, Mapping):
            continue
        reading = Reading(
            condition_headers=_listed(settings, "condition_headers"),
            claim_headers=_listed(settings, "claim_headers"),
        )
        for tenant, document in (policies if _is_saas(settings) else {"": policies}).items():
            parsed = parse_policy_set(document, reading)
            if isinstance(parsed, PolicySet):
                for warning in likely_mistakes(parsed):
                    place = f"/{tenant}" if tenant else ""
                    yield f"section {number}, policies{place}{warning.pointer}: {warning.message}"


def _listed(settings: Document, name: str) -> frozenset[str]:
    values = settings.get(name, [])
    return frozenset(map(str, values)) if isinstance(values, list | tuple) else frozenset()


def run_section(
    section: Document, where: str, model: RoleModel, folder: Snapshot | None = None
) -> Iterator[CaseResult]:
    """Run one section of a case file; `folder` are the policies of one that has none of its own.

    Raises:
        CaseInvalidError: the section is not one; cases before the place have been yielded.
    """
    for problem in unknown_members(section, "", SECTION_MEMBERS):
        raise CaseInvalidError(f"{where}{problem.pointer.replace('/', ', ')}: {problem.message}")
    if "refused" in section:
        yield refused_result(section, model, where)
        return
    runner = CaseRunner.of(section, model, where=where, folder=folder)
    for position, case in enumerate(_list(section.get("cases"), f"{where}, cases")):
        result = runner.run(_object(case, f"{where}, case {position}"), f"{where}, case {position}")
        yield replace(result, pointer=f"/cases/{position}")


def compiled_section(
    section: Document, where: str, model: RoleModel
) -> tuple[Mapping[str, Snapshot], list[Problem]]:
    """Compile the policies of every tenant of a section; return the snapshots, and the problems of others.

    Raises:
        CaseInvalidError: the settings are refused.
    """
    settings = settings_of(section, where)
    policies = _object(section.get("policies", {}), f"{where}, policies")
    saas = _is_saas(settings)
    reading = Reading(
        condition_headers=frozenset(_texts(settings.get("condition_headers", []), where)),
        claim_headers=frozenset(_texts(settings.get("claim_headers", []), where)),
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


def _is_saas(settings: Document) -> bool:
    return _choice(settings, "mode", TenancyMode, TenancyMode.SELFHOST) is TenancyMode.SAAS


def settings_of(section: Document, where: str) -> Document:
    """Return the settings of a section. Raises CaseInvalidError."""
    settings = _object(section.get("settings", {}), f"{where}, settings")
    for problem in unknown_members(settings, "", SETTINGS_MEMBERS):
        raise CaseInvalidError(f"{where}, settings{problem.pointer.replace('/', ', ')}: {problem.message}")
    for name in FLAGS:
        if not isinstance(settings.get(name, True), bool):
            # `yes` and `no` are texts, of which neither would be true.
            raise CaseInvalidError(f"{where}, settings, {name}: true or false is needed")
    if type(settings.get("condition_body_max", 0)) is not int:
        raise CaseInvalidError(f"{where}, settings, condition_body_max: a number of bytes is needed")
    return settings


def refused_result(section: Document, model: RoleModel, where: str) -> CaseResult:
    """Compare the problems of a section's policies with those that are expected. Raises CaseInvalidError."""
    problems = compiled_section(section, where, model)[1]
    wanted = [
        str(_object(entry, where).get("pointer")) for entry in _list(section["refused"], f"{where}, refused")
    ]
    found = [problem.pointer for problem in problems]
    differences = [
        f"expected a problem at {pointer}, got {found or 'none'}"
        for pointer in wanted
        if not any(_is_at(place, pointer) for place in found)
    ]
    differences += [
        f"unexpected problem at {problem}"
        for problem in problems
        if not any(_is_at(problem.pointer, pointer) for pointer in wanted)
    ]
    return CaseResult(f"refused: {section.get('description', where)}", tuple(differences), "/refused")


def _is_at(place: str, pointer: str) -> bool:
    return place == pointer or place.startswith(f"{pointer}/")


def _directory(section: Document, where: str, model: RoleModel) -> Directory:
    compiled, problems = compiled_section(section, where, model)
    if problems:
        raise CaseInvalidError(f"{where}, policies: " + "; ".join(map(str, problems)))
    if not _is_saas(_object(section.get("settings", {}), f"{where}, settings")):
        return Directory(TenancyMode.SELFHOST, compiled)
    snapshots = dict(compiled)
    hosts: dict[str, str] = {}
    suspended: set[str] = set()
    for tenant, entry in _object(section.get("tenants", {}), f"{where}, tenants").items():
        place = f"{where}, tenants, {tenant}"
        described = _object(entry or {}, place)
        hosts.update(dict.fromkeys(_texts(described.get("hosts", []), f"{place}, hosts"), tenant))
        if described.get("suspended", False) is True:
            suspended.add(tenant)
        snapshots.setdefault(tenant, empty(tenant, model))
    return Directory(TenancyMode.SAAS, snapshots, hosts=hosts, suspended=frozenset(suspended))


class CaseRunner:
    """Answers the cases of one section, under its settings and policies."""

    def __init__(self, settings: Document, directory: Directory, *, owner: str | None = None) -> None:
        """Take what was read of the section; `owner` is the tenant of all requests, and of most callers."""
        self._directory = directory
        self._owner = owner
        self._tenant = DEFAULT_TENANT if owner is None else owner
        self._excluded_roles = _excluded_roles(settings)
        preflight = _choice(settings, "cors_preflight", CorsPreflight, CorsPreflight.OFF)
        self._preflights = preflight is CorsPreflight.POLICY
        self._raw_headers = settings.get("encode_raw_headers", True) is True
        longest = settings.get("condition_body_max", LONGEST_BODY)
        self._longest_body = longest if isinstance(longest, int) else LONGEST_BODY
        self._policy = CheckPolicy(
            token=TokenPolicy(oidc_enabled=settings.get("oidc_enabled", True) is True),
            unmapped=_choice(settings, "unmapped", UnmappedPolicy, UnmappedPolicy.DENY),
            binding=_choice(settings, "tenant_binding", TenantBinding, TenantBinding.HOST),
            max_staleness=None,
        )

    @classmethod
    def of(
        cls,
        section: Document,
        model: RoleModel,
        *,
        where: str = "section",
        folder: Snapshot | None = None,
    ) -> "CaseRunner":
        """Compile a section; `folder` are the policies of one that has none of its own.

        Raises:
            CaseInvalidError: the settings or policies are refused.
        """
        settings = settings_of(section, where)
        if folder is None or "policies" in section:
            return cls(settings, _directory(section, where, model))
        if _is_saas(settings):
            raise CaseInvalidError(f"{where}, settings, mode: 'saas' needs policies of its own, by tenant")
        return cls(settings, Directory(TenancyMode.SELFHOST, {DEFAULT_TENANT: folder}))

    def run(self, case: Document, where: str) -> CaseResult:
        """Compare the answer to a case with the expected one; raises CaseInvalidError like `answer`."""
        name = str(case.get("name", where))
        for problem in unknown_members(case, "", CASE_MEMBERS, SHOWN_ONLY):
            raise CaseInvalidError(f"{where}{problem.pointer.replace('/', ', ')}: {problem.message}")
        expected = _object(case.get("expect"), f"{where}, expect")
        got = self.answer(case, where=where)
        differences = tuple(
            f"{member}: expected {expected[member]!r}, got {got[member]!r}"
            for member in got
            if member in expected and expected[member] != got[member]
        )
        unknown = sorted(set(expected) - set(got))
        if unknown:
            raise CaseInvalidError(f"{where}, expect: {unknown[0]!r} is not part of an answer")
        if "decision" not in expected:
            raise CaseInvalidError(f"{where}, expect, decision: is missing, 'allow' or 'deny' is needed")
        return CaseResult(name, differences, got=got)

    def answer(self, case: Document, *, where: str = "case") -> dict[str, object]:
        """Return the members of `expect` as they come out.

        Raises:
            CaseInvalidError: the case is not one.
        """
        moment = parse_time(str(case.get("now", DEFAULT_NOW)))
        if moment is None:
            raise CaseInvalidError(f"{where}, now: an RFC 3339 time is needed")
        now = moment.timestamp()
        asked = _object(case.get("request"), f"{where}, request")
        caller = self._principal(case, where)
        if "path" not in asked:
            return self._asked_by_name(asked, caller, now, where)
        try:
            request = read_case_request(asked, raw_headers=self._raw_headers, longest_body=self._longest_body)
        except RequestInvalidError as error:
            raise CaseInvalidError(f"{where}, request, {error}") from None
        if isinstance(request, Malformed):
            return _answer(Denied("", request.reason))
        if self._owner is not None:
            request = request._replace(context=replace(request.context, tenant=self._owner))
        if self._preflights and case.get("principal") == "anonymous":
            request = request._replace(preflight=asked_by_preflight(asked, raw_headers=self._raw_headers))
        return _answer(judge_identified(request, caller, self._directory, self._policy, "", now))

    def _asked_by_name(
        self, asked: Document, caller: Principal | Rejected | None, now: float, where: str
    ) -> dict[str, object]:
        if not isinstance(caller, Principal):
            reason = caller.reason if isinstance(caller, Rejected) else Reason.TOKEN_MISSING
            return _answer(Denied("", reason))
        names = {member: _text(asked, member, f"{where}, request") for member in ("resource", "action")}
        problems: list[Problem] = []
        fields = Fields(names, "", problems)
        for member in names:
            read_one_name(fields, member)
        if problems:
            raise CaseInvalidError(f"{where}, request: " + "; ".join(map(str, problems)))
        # Here a parameter may have any name: it stands for a route's, which may be called `name` too.
        parameters = freeze_claims(dict(_object(asked.get("parameters", {}), where)))
        properties, context = (
            freeze_claims(dict(_object(asked.get(member, {}), f"{where}, request, {member}")))
            for member in ("action_properties", "context")
        )
        verdict = judge_by_name(
            self._directory,
            self._owner or caller.tenant or DEFAULT_TENANT,
            caller,
            NamedQuestion(
                names["resource"], names["action"], parameters, action_properties=properties, context=context
            ),
            max_staleness=self._policy.max_staleness,
            decision_id="",
            now=now,
        )
        return _answer(verdict)

    def _principal(self, case: Document, where: str) -> Principal | Rejected | None:
        if "token" in case:
            return self._token_bearer(case, where) if self._policy.token.oidc_enabled else None
        given = case.get("principal")
        if given == "anonymous":
            return None
        described = _object(given, f"{where}, principal")
        if "workload" in described:
            workload = _text(described, "workload", f"{where}, principal")
            if problem := peer_problem(workload):
                return Rejected(Reason.TOKEN_CLAIMS_INVALID, f"the peer's name {problem}")
            return Principal(PrincipalKind.WORKLOAD, workload, None, None, (), Authentication.MTLS)
        kind = _choice(described, "kind", PrincipalKind, PrincipalKind.USER)
        if kind is PrincipalKind.USER and not self._policy.token.oidc_enabled:
            return None
        roles = _texts(_present(described, "roles", []), where)
        domain = described.get("domain")
        claims = dict(_object(_present(described, "claims", {}), where))
        bound_to = confirmation(claims, required=False)
        if isinstance(bound_to, ClaimRejected):
            return Rejected(Reason.TOKEN_CLAIMS_INVALID, bound_to.problem)
        return Principal(
            kind=kind,
            id=_text(described, "id", f"{where}, principal"),
            tenant=str(_present(described, "tenant", self._tenant)),
            domain=None if domain is None else str(domain),
            roles=tuple(sorted(set(roles))),
            authentication=Authentication.JWT if kind is PrincipalKind.USER else Authentication.API_KEY,
            claims=freeze_claims(claims),
            # A case asks about rules: the caller has the certificate that its token is bound to.
            confirmation=bound_to,
        )

    def _token_bearer(self, case: Document, where: str) -> Principal | Rejected:
        claims = dict(_object(case["token"], f"{where}, token"))
        roles = token_roles(claims, _ROLES_CLAIM, excluded=self._excluded_roles)
        domain = token_domain(claims, _DOMAIN_CLAIM)
        bound_to = confirmation(claims, required=False)
        for read in (roles, domain, bound_to):
            if isinstance(read, ClaimRejected):
                return Rejected(Reason.TOKEN_CLAIMS_INVALID, read.problem)
        assert isinstance(roles, tuple)
        assert not isinstance(domain, ClaimRejected)
        assert not isinstance(bound_to, ClaimRejected)
        return Principal(
            kind=PrincipalKind.USER,
            id=_text(claims, "sub", f"{where}, token"),
            tenant=str(case.get("token_tenant", self._tenant)),
            domain=domain,
            roles=roles,
            authentication=Authentication.JWT,
            claims=freeze_claims(claims),
            confirmation=bound_to,
        )


def _excluded_roles(settings: Document) -> frozenset[str]:
    roles = _texts(settings.get("excluded_roles", list(_EXCLUDED)), "excluded_roles")
    for role in roles:
        if problem := excluded_role_problem(role):
            raise CaseInvalidError(f"excluded_roles: found {role!r}, it must be {problem}")
        if problem := name_problem(role):
            raise CaseInvalidError(f"excluded_roles: found {role!r}, it {problem}")
    return frozenset(roles)


def _answer(verdict: Verdict | NamedVerdict) -> dict[str, object]:
    return {
        "decision": verdict.effect.value,
        "reason": verdict.reason.value,
        "rule": None if verdict.rule is None else verdict.rule.id,
        "shadow": [{"rule_id": each.rule_id, "would": each.would.value} for each in verdict.shadow],
        "resource": None if verdict.target is None else verdict.target.resource,
        "action": None if verdict.target is None else verdict.target.action,
    }


def _object(value: object, where: str) -> Document:
    if not isinstance(value, Mapping):
        raise CaseInvalidError(f"{where}: an object is needed")
    return value


def _list(value: object, where: str) -> list[object]:
    if not isinstance(value, list):
        raise CaseInvalidError(f"{where}: a list is needed")
    return value


def _texts(value: object, where: str) -> list[str]:
    return [str(entry) for entry in _list(value, where)]


def _choice(document: Document, member: str, words: type[_Word], default: _Word) -> _Word:
    value = document.get(member, default.value)
    for word in words:
        if word.value == value:
            return word
    raise CaseInvalidError(f"{member}: {value!r} is not one of {', '.join(words)}")


def _present(document: Document, member: str, default: object) -> object:
    """Return a member that may be left out; null is absence."""
    value = document.get(member)
    return default if value is None else value


def _text(document: Document, member: str, where: str) -> str:
    value = document.get(member)
    if not isinstance(value, str):
        raise CaseInvalidError(f"{where}: {member} is not a string")
    return value
