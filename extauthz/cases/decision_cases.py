"""Decision cases: policies, requests and the answers expected of them (the format of `tests/cases/`).

A case runs through the same `judge` as a request from a proxy; only the credentials are given as read.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from extauthz.cases.case_callers import CallerReader
from extauthz.cases.case_members import CASE_MEMBERS, SECTION_MEMBERS, SHOWN_ONLY
from extauthz.cases.case_requests import (
    LONGEST_BODY,
    RequestInvalidError,
    asked_by_preflight,
    read_case_request,
)
from extauthz.cases.case_sections import compiled_section, directory_of, is_saas, settings_of
from extauthz.cases.case_values import (
    CaseInvalidError,
    Document,
    list_of,
    object_of,
    refuse_unknown,
    text_of,
    word_of,
)
from extauthz.compile.directory import Directory
from extauthz.compile.documents.policy_documents import Reading, parse_policy_set
from extauthz.compile.documents.policy_files import read_documents
from extauthz.compile.documents.warnings import likely_mistakes
from extauthz.compile.fields import Fields
from extauthz.compile.roles.role_model import RoleModel
from extauthz.compile.snapshot import Snapshot
from extauthz.decide.by_name import NamedQuestion, judge_by_name, read_one_name
from extauthz.decide.identity import Rejected, TokenPolicy
from extauthz.decide.judge import CheckPolicy, judge_identified
from extauthz.decide.tokens.claims import freeze_claims
from extauthz.domain.policy import PolicySet
from extauthz.domain.principal import Principal
from extauthz.domain.problem import Problem
from extauthz.domain.reasons import Reason
from extauthz.domain.request import Malformed
from extauthz.domain.tenancy import DEFAULT_TENANT, TenancyMode, TenantBinding, UnmappedPolicy
from extauthz.domain.time_text import parse_time
from extauthz.domain.verdict import Denied, NamedVerdict, Verdict
from extauthz.settings import CorsPreflight

DEFAULT_NOW: Final = "2026-01-05T10:00:00Z"


@dataclass(frozen=True, slots=True)
class CaseResult:
    """One case, or one refused policy set: its name, and what differs (empty: nothing).

    `pointer` is its place in the section, in the file where `run_case_text` yields it. `got` is the answer.
    """

    name: str
    differences: tuple[str, ...]
    pointer: str = field(default="", compare=False)
    got: Mapping[str, object] = field(default_factory=dict, compare=False)


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
        for result in run_section(object_of(section, f"section {number}"), f"section {number}", model):
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
        for tenant, document in (policies if is_saas(settings) else {"": policies}).items():
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
    refuse_unknown(section, where, SECTION_MEMBERS)
    if "refused" in section:
        yield refused_result(section, model, where)
        return
    runner = CaseRunner.of(section, model, where=where, folder=folder)
    for position, case in enumerate(list_of(section.get("cases"), f"{where}, cases")):
        result = runner.run(object_of(case, f"{where}, case {position}"), f"{where}, case {position}")
        yield replace(result, pointer=f"/cases/{position}")


def refused_result(section: Document, model: RoleModel, where: str) -> CaseResult:
    """Compare the problems of a section's policies with those that are expected. Raises CaseInvalidError."""
    problems = compiled_section(section, where, model)[1]
    wanted = [
        str(object_of(entry, where).get("pointer"))
        for entry in list_of(section["refused"], f"{where}, refused")
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


class CaseRunner:
    """Answers the cases of one section, under its settings and policies."""

    def __init__(self, settings: Document, directory: Directory, *, owner: str | None = None) -> None:
        """Take what was read of the section; `owner` is the tenant of all requests, and of most callers."""
        self._directory = directory
        self._owner = owner
        self._callers = CallerReader.of(settings, DEFAULT_TENANT if owner is None else owner)
        preflight = word_of(settings, "cors_preflight", CorsPreflight, CorsPreflight.OFF)
        self._preflights = preflight is CorsPreflight.POLICY
        self._raw_headers = settings.get("encode_raw_headers", True) is True
        longest = settings.get("condition_body_max", LONGEST_BODY)
        self._longest_body = longest if isinstance(longest, int) else LONGEST_BODY
        self._policy = CheckPolicy(
            token=TokenPolicy(oidc_enabled=self._callers.oidc_enabled),
            unmapped=word_of(settings, "unmapped", UnmappedPolicy, UnmappedPolicy.DENY),
            binding=word_of(settings, "tenant_binding", TenantBinding, TenantBinding.HOST),
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
            return cls(settings, directory_of(section, where, model))
        if is_saas(settings):
            raise CaseInvalidError(f"{where}, settings, mode: 'saas' needs policies of its own, by tenant")
        return cls(settings, Directory(TenancyMode.SELFHOST, {DEFAULT_TENANT: folder}))

    def run(self, case: Document, where: str) -> CaseResult:
        """Compare the answer to a case with the expected one; raises CaseInvalidError like `answer`."""
        name = str(case.get("name", where))
        refuse_unknown(case, where, CASE_MEMBERS, SHOWN_ONLY)
        expected = object_of(case.get("expect"), f"{where}, expect")
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
        asked = object_of(case.get("request"), f"{where}, request")
        caller = self._callers.read(case, where)
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
        names = {member: text_of(asked, member, f"{where}, request") for member in ("resource", "action")}
        problems: list[Problem] = []
        fields = Fields(names, "", problems)
        for member in names:
            read_one_name(fields, member)
        if problems:
            raise CaseInvalidError(f"{where}, request: " + "; ".join(map(str, problems)))
        # Here a parameter may have any name: it stands for a route's, which may be called `name` too.
        parameters = freeze_claims(dict(object_of(asked.get("parameters", {}), where)))
        properties, context = (
            freeze_claims(dict(object_of(asked.get(member, {}), f"{where}, request, {member}")))
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


def _answer(verdict: Verdict | NamedVerdict) -> dict[str, object]:
    return {
        "decision": verdict.effect.value,
        "reason": verdict.reason.value,
        "rule": None if verdict.rule is None else verdict.rule.id,
        "shadow": [{"rule_id": each.rule_id, "would": each.would.value} for each in verdict.shadow],
        "resource": None if verdict.target is None else verdict.target.resource,
        "action": None if verdict.target is None else verdict.target.action,
    }
