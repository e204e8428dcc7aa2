"""Questions from lines of the decision log (docs/reference/contract.md#decision-log).

A line has no claim, no query and no header: what reads them cannot be judged from it. A field that is
missing from a line, and one whose value is masked, was not recorded. Null is what the log writes for nothing.
`masked` names the fields that the log itself masked (DECISION_LOG_MASK).
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from extauthz.decide.by_name import AUTHZEN, ENTRANCES_BY_NAME, NamedQuestion
from extauthz.decide.identity import Rejected
from extauthz.decide.judge import CheckPolicy
from extauthz.decide.line_question import LogMembers
from extauthz.decide.record import UNTRUSTED_LENGTH
from extauthz.decide.routes import decided_method
from extauthz.domain.path import CanonicalPath
from extauthz.domain.policy import AuthenticationRequirement
from extauthz.domain.preflight import OPTIONS
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.request import ContextTarget
from extauthz.domain.tenancy import UnmappedPolicy
from extauthz.domain.time_text import parse_time
from extauthz.domain.verdict import Rule, RuleKind
from extauthz.recording import shape as recorded
from extauthz.recording.not_known import CREDENTIAL, NotKnown, State
from extauthz.recording.question import (
    NO_NAME,
    NOT_BY_POLICIES,
    POLICIES,
    WITHOUT_CREDENTIAL,
    NamedParameters,
    Question,
    folded_path,
)
from extauthz.recording.recorded_path import FoldedSegment
from extauthz.recording.recorded_principal import PartlyKnown, RecordedClaims
from extauthz.recording.recorded_request import NotInLines, RecordedFacts
from extauthz.recording.rejudge import Judge
from extauthz.recording.slots import Slots

_MASKED: Final = re.compile(r"\*+|\[[^\]]*\]|<[^>]*>|(?i:masked|redacted|removed|hidden)|hmac:[0-9a-f]{64}")
_WITHOUT_TOKEN: Final = frozenset((Authentication.MTLS, Authentication.API_KEY))
_REASONS: Final = {reason.value: reason for reason in Reason}
_ASKED_METHOD: Final = "access-control-request-method"
_BY_ROLES: Final = "whether it was asked by roles alone"
_RESOURCE: Final = "resource."
_PARAMETERS: Final = "resource.parameters."


@dataclass(frozen=True, slots=True)
class LineReader:
    """Reads the lines of one tenant.

    `masked` are the fields whose values are not to be trusted. `preflights` is whether CORS preflights may be
    among the requests.
    """

    tenant: str
    policy: CheckPolicy = POLICIES[UnmappedPolicy.DENY]
    masked: frozenset[str] = frozenset()
    preflights: bool = False

    def question(self, line: LogMembers) -> Question | str:
        """Return the question of a decision's line, or what is wrong with the line."""
        try:
            return self._question(line)
        except (KeyError, TypeError, ValueError) as error:
            return f"is not a line of a decision: {_cause(error)}"

    def _question(self, line: LogMembers) -> Question:
        reason, effect = _REASONS[_text(line, "reason")], Effect(_text(line, "decision"))
        rule_id = line["matched_rule_id"]
        rule = None if rule_id is None else Rule(str(rule_id), RuleKind(_text(line, "matched_rule_kind")))
        slots = Slots(self._texts(line), self._masked(line))
        question = Question(
            self.tenant, None, None, None, None, None, self.policy, None, effect, reason, rule
        )
        if reason in NOT_BY_POLICIES:
            return question
        if (lacks := self._lacks(line)) is not None:
            return replace(question, lacks=lacks)
        path = self._path(line)
        if path is None and _text(line, "entrance") not in ENTRANCES_BY_NAME:
            return question
        identity = self._identity(line, reason, slots)
        unread = NotKnown(CREDENTIAL) if line["principal_kind"] == PrincipalKind.ANONYMOUS else None
        if path is None:
            # An older question by name is about roles alone. It reads no attributes.
            maybe_by_roles = None if line["attributes_used"] else NotKnown(_BY_ROLES)
            named = self._named(line, slots)
            return replace(question, named=named, identity=identity, maybe_by_roles=maybe_by_roles)
        facts = RecordedFacts.of(slots, path, ContextTarget(self.tenant))
        asks = self.preflights and identity is None and line["method"] == OPTIONS
        method = decided_method(str(line["method"]))
        by_path = (line["resource"], line["action"]) == (line["path"], method.lower())
        return replace(
            question,
            policy=POLICIES[UnmappedPolicy.PATH] if by_path else self.policy,
            facts=facts,
            identity=identity,
            unread=unread,
            maybe_preflight=NotKnown(_ASKED_METHOD) if asks else None,
        )

    def _texts(self, line: LogMembers) -> dict[str, str]:
        """Return the slots that a line has."""
        texts: dict[str, str] = {}
        for field, slot in _SLOTS.items():
            if self._is_known(line, field) and not _is_cut(field, line[field]):
                value = line[field]
                given = decided_method(value) if field == "method" and isinstance(value, str) else value
                texts[slot] = recorded.literal(given)
        used = line["attributes_used"]
        for name, value in used.items() if isinstance(used, Mapping) else ():
            if name.startswith(_RESOURCE) and not self._is_masked_attribute(line, value):
                texts[_slot_of(name)] = recorded.literal(value)
        return texts

    def _masked(self, line: LogMembers) -> frozenset[str]:
        """Return the slots whose values are masked."""
        known = (field for field in _SLOTS if field in line and not self._is_known(line, field))
        used = line["attributes_used"]
        attributes = {
            _slot_of(name)
            for name, value in (used.items() if isinstance(used, Mapping) else ())
            if name.startswith(_RESOURCE) and self._is_masked_attribute(line, value)
        }
        return frozenset(attributes).union(map(_SLOTS.__getitem__, known))

    def _lacks(self, line: LogMembers) -> NotKnown | None:
        """Return the masked field without which the request cannot be judged at all."""
        for field in ("path", "domain", "resource", "action"):
            is_whole = field != "path" or not self._has_segments(line["path"])
            if field in self.masked or (is_whole and field in _masked_by_log(line)):
                return NotKnown(field, State.MASKED)
        return None

    @staticmethod
    def _has_segments(path: object) -> bool:
        """Tell whether only segments of the path are masked: a path that is masked is one hash, or null."""
        return isinstance(path, str) and _MASKED.fullmatch(path[1:]) is None

    def _is_masked_attribute(self, line: LogMembers, value: object) -> bool:
        if value is None or isinstance(value, str):
            return "attributes_used" in _masked_by_log(line) and _is_masked_text(value or "***")
        return False

    def _not_known(self, line: LogMembers, field: str) -> NotKnown:
        return NotKnown(field, State.MASKED if field in line else State.NOT_RECORDED)

    def _is_known(self, line: LogMembers, field: str) -> bool:
        if field not in line or field in self.masked or field in _masked_by_log(line):
            return False
        value = line[field]
        return not (isinstance(value, str) and _is_masked_text(value))

    def _identity(self, line: LogMembers, reason: Reason, slots: Slots) -> Principal | Rejected | None:
        kind = line["principal_kind"]
        if kind is None:
            return None if reason in WITHOUT_CREDENTIAL else Rejected(reason, "")
        if kind == PrincipalKind.ANONYMOUS:
            return None
        authentication = Authentication(_text(line, "authentication"))
        missing: dict[str, NotKnown] = {}
        subject, roles, domain = line.get("subject"), line.get("token_roles"), line["domain"]
        if not self._is_known(line, "subject") or not isinstance(subject, str):
            subject, missing["id"] = NO_NAME, self._not_known(line, "subject")
        if not self._is_known(line, "token_roles") or not isinstance(roles, list):
            roles, missing["roles"] = [], self._not_known(line, "token_roles")
        if authentication not in _WITHOUT_TOKEN:
            missing["confirmation"] = NotKnown("cnf")
        tenant = None if kind == PrincipalKind.WORKLOAD else self.tenant
        principal = Principal(
            PrincipalKind(str(kind)),
            str(subject),
            NO_NAME if reason is Reason.TENANT_MISMATCH else tenant,
            None if domain is None else str(domain),
            tuple(map(str, roles)),
            authentication,
            RecordedClaims(
                slots, complete=authentication in _WITHOUT_TOKEN and line["entrance"] not in ENTRANCES_BY_NAME
            ),
        )
        return PartlyKnown.of(principal, missing) if missing else principal

    def _named(self, line: LogMembers, slots: Slots) -> NamedQuestion | None:
        resource, action = line["resource"], line["action"]
        if not isinstance(resource, str) or not isinstance(action, str):
            return None
        if line["entrance"] != AUTHZEN:
            return NamedQuestion(resource, action, NamedParameters(slots))
        unlogged = (NotInLines("action.properties.*"), NotInLines("context.*"))
        return NamedQuestion(resource, action, NamedParameters(slots), False, *unlogged)

    def _path(self, line: LogMembers) -> CanonicalPath | None:
        """Return the path, a `FoldedPath` where segments are masked; None for a line without one."""
        text = line["path"]
        if text is None:
            return None
        found = CanonicalPath.parse(str(text))
        if not isinstance(found, CanonicalPath):
            raise ValueError(f"the path {str(text)[:80]!r} is not canonical")
        if not any(map(_MASKED.fullmatch, found.segments)):
            return found
        segments = [
            FoldedSegment.of("path", State.MASKED) if _MASKED.fullmatch(each) else each
            for each in found.segments
        ]
        return folded_path(segments, NotKnown("path", State.MASKED), None)


_SLOTS: Final = {
    "host": recorded.HOST,
    "method": recorded.METHOD,
    "source_principal": recorded.PEER,
    "source_address": recorded.ADDRESS,
    "mcp_method": recorded.MCP_METHOD,
    "mcp_name": recorded.MCP_NAME,
}
"""The slots that a field of a line has the value of."""


def as_recorded(question: Question, line: LogMembers, live: Judge, at: float) -> Question:
    """Return the question with what the line leaves out, and what the live policies show of it.

    A target that is not the one of the path was named by the proxy's configuration. A request without a
    principal had no credential where live policies, as they were recorded, answer it so on a route that reads
    credentials.
    """
    resource, action = line["resource"], line["action"]
    facts = question.facts
    answer = live.answer(replace(question, unread=None), at)
    if isinstance(answer, NotKnown):
        return question
    target = answer.target
    if facts is not None and isinstance(resource, str) and isinstance(action, str):
        named = (resource, action) != (None if target is None else (target.resource, target.action))
        if named and resource in live.policies.resources_by_name:
            context = ContextTarget(question.tenant, resource, action)
            question = replace(question, facts=RecordedFacts.of(facts.slots, facts.path, context))
            answer = live.answer(replace(question, unread=None), at)
            if isinstance(answer, NotKnown):
                return question
    if question.unread is None or answer.target is None:
        return question
    as_it_was = answer.verdict == (question.effect, question.reason, question.rule)
    reads_credentials = answer.target.authentication is not AuthenticationRequirement.NONE
    return replace(question, unread=None) if as_it_was and reads_credentials else question


def instant_of(line: LogMembers) -> float | None:
    """Return when the request was made, in POSIX seconds; None where the line does not say it."""
    moment = parse_time(str(line.get("ts")))
    return None if moment is None else moment.timestamp()


def _slot_of(attribute: str) -> str:
    return _RESOURCE + attribute.removeprefix(_PARAMETERS).removeprefix(_RESOURCE)


def _is_cut(field: str, value: object) -> bool:
    """Tell whether the log has only the beginning of a value of a message."""
    return (
        field in {"mcp_method", "mcp_name"}
        and isinstance(value, str)
        and (len(value) >= UNTRUSTED_LENGTH or value.endswith("?"))
    )


def _is_masked_text(text: str) -> bool:
    return _MASKED.fullmatch(text) is not None


def _masked_by_log(line: LogMembers) -> Collection[str]:
    """Return the fields that the log masked; lines of earlier versions name none."""
    found = line.get("masked", ())
    return found if isinstance(found, list) else ()


def _text(line: LogMembers, field: str) -> str:
    value = line[field]
    if not isinstance(value, str):
        raise TypeError(f"{field} is not a string")
    return value


def _cause(error: Exception) -> str:
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)[:200]
