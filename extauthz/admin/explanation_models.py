"""The question of `POST /api/v1/explain` and the form of an explanation."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, WithJsonSchema

from extauthz.admin.checks import Attributes, attribute_problems, subject_problems
from extauthz.decide.line_question import NOT_JUDGED
from extauthz.decisionlog.schema import line_problems
from extauthz.domain.problem import Problem, pointer_token
from extauthz.domain.time_text import parse_time
from extauthz.rest import documents as doc
from extauthz.rest.context import RequestContext

MAX_REVISION: Final = 2**63 - 1
_QUESTION: Final = ("subject", "subject_kind", "domain", "resource", "action")


def _moment_or_revision(value: object) -> object:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_REVISION:
        return value
    moment = parse_time(value)
    if moment is None:
        raise doc.refused("a revision (an integer, 0 or more) or an RFC 3339 time is needed")
    return moment


class ExplainRequest(doc.BodyModel):
    """A question as for `POST /api/v1/check`, or a line of the decision log."""

    subject: doc.Omissible[doc.Name] = doc.optional("the subject that asks", "alice")
    subject_kind: doc.Omissible[Literal["user", "service", "workload"]] = None
    domain: doc.Omissible[doc.OneName] = doc.optional("the domain of the subject; never `*`")
    resource: doc.Omissible[doc.OneName] = doc.optional("the name of a resource", "invoice:read")
    action: doc.Omissible[doc.OneName] = doc.optional("the action", "read")
    attributes: doc.Omissible[Attributes] = None
    line: doc.Omissible[dict[str, Any]] = doc.optional(
        "a line of the decision log, instead of a question; `attributes` may add what the line lacks"
    )
    at: Annotated[
        Any,
        BeforeValidator(_moment_or_revision),
        WithJsonSchema(
            {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "format": "date-time"}]}
        ),
    ] = doc.optional(
        "the policies of this revision, or of this time (default: those of now, or of the line)", 7
    )

    @classmethod
    def problems_in(cls, document: Mapping[str, object], ctx: RequestContext) -> list[Problem]:
        """Return what is wrong with the question, or with the line."""
        if "line" in document:
            problems = [
                Problem(f"/{name}", "is for a question; a line has its own")
                for name in _QUESTION
                if name in document
            ]
            return problems + _line_problems(document["line"]) + attribute_problems(document)
        problems = [
            Problem(f"/{name}", "is missing; ask a question, or post a line")
            for name in ("resource", "action")
            if name not in document
        ]
        return problems + subject_problems(document, ctx) + attribute_problems(document)


def _line_problems(line: object) -> list[Problem]:
    if not isinstance(line, Mapping):
        return []
    if line.get("event") != "decision":
        return [Problem("/line/event", "only the line of a decision can be explained")]
    found = [problem.partition(": ") for problem in line_problems(line)]
    problems = [Problem(f"/line/{pointer_token(name)}", message) for name, _, message in found]
    masked = line.get("masked")
    problems += [
        Problem("/line/masked", f"{name!r} is masked in this line; put its value there and leave it out here")
        for name in (masked if isinstance(masked, list) else ())
        if name not in NOT_JUDGED
    ]
    revision = line.get("policy_revision")
    if isinstance(revision, int) and revision > MAX_REVISION:
        problems.append(Problem("/line/policy_revision", f"is larger than {MAX_REVISION}"))
    return problems


class DecidedOut(doc.Model):
    """A decision that was made, as its line has it."""

    decision_id: str = doc.example(doc.EXAMPLE_ID)
    ts: doc.Time
    decision: Literal["allow", "deny"] = doc.example("deny")
    reason: str = doc.example("no_matching_rule")
    matched_rule_id: str | None = doc.example(doc.EXAMPLE_ID)


class PoliciesOut(doc.Model):
    """The policies that the explanation is about."""

    revision: doc.NonNegative = doc.example(7)
    written_at: doc.OptionalTime = doc.example(doc.EXAMPLE_TIME)
    digest: str | None = doc.about("the digest of the policies, as they were rebuilt", "0" * 64)
    stored_digest: str | None = doc.about(
        "the digest that was stored when the revision was written", "0" * 64
    )
    line_digest: str | None = doc.about("`policy_digest` of the line")
    matches: bool | None = doc.about(
        "whether all known digests are the same; null: there is none to compare with", True
    )


class ExplanationOut(doc.Model):
    """Why."""

    decision: Literal["allow", "deny"] = doc.example("deny")
    reason: str = doc.example("no_matching_rule")
    message: str = doc.example("no rule matches")
    matched_rule_id: str | None = doc.example(None)
    recorded: DecidedOut | None = doc.about("the decision of the line; null for a question")
    agrees: bool | None = doc.about(
        "whether decision, reason and rule are those of the line; null for a question, or if uncertain",
        True,
    )
    certain: doc.Flag = doc.about("false: a value that was not recorded could change the decision", True)
    time: doc.Time = doc.about("the time for which conditions and bindings were evaluated", doc.EXAMPLE_TIME)
    policies: PoliciesOut
    principal: Any = doc.about("the principal, with its effective roles", {"id": "alice"})
    target: Any = doc.about("resource, action and parameters", {"resource": "invoice:read"})
    roles: list[Any] = doc.about("each role, with the bindings and links that gave it", [])
    expired_bindings: list[Any] = doc.about("bindings that would give a role, and have expired", [])
    candidates: list[Any] = doc.about(
        "every rule on the resource, action and domain: attribute policies, with what each condition "
        "came out as and the value it saw, then role rules; those that matched first",
        [],
    )
    candidates_left_out: doc.Integer = doc.example(0)
    near_miss: Any = doc.about(
        "the allow that failed by the fewest conditions, and which; null after an allow", None
    )
    notes: list[str] = doc.about("what was taken for granted, and what is not as it should be", [])
