"""`POST /access/v1/evaluation` and `/access/v1/evaluations`: AuthZEN Authorization API 1.0.

The decision of the mesh, asked in a standard form. docs/authzen.md says how questions are mapped, and where
the answers deviate from the specification.
"""

from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import APIRouter
from starlette.responses import Response

from extauthz.admin.authzen_models import EvaluationOut, EvaluationRequest, EvaluationsOut, EvaluationsRequest
from extauthz.admin.named_decisions import NOT_NOW, decided, excluded_roles, message_of, not_now
from extauthz.decide.authzen import (
    AskedSubject,
    Batch,
    Evaluation,
    QuestionRejected,
    read_batch,
    read_evaluation,
    read_item,
)
from extauthz.decide.by_name import AUTHZEN
from extauthz.domain.principal import Principal
from extauthz.domain.problem import Problem
from extauthz.domain.verdict import AllowedByName, Denied, NamedVerdict
from extauthz.rest.answers import Reply
from extauthz.rest.authorization import Permission
from extauthz.rest.context import RequestContext
from extauthz.rest.openapi import answer
from extauthz.rest.operation import requires
from extauthz.rest.problems import ProblemError, forbidden, malformed
from extauthz.rest.protocol_operation import ProtocolOperation, described_by
from extauthz.rest.turns import Turns
from extauthz.storage.encoding import encode_json
from extauthz.storage.rows import Document

MAX_EVALUATIONS: Final = 1000
"""The most entries of a batch."""
MAX_DEFAULT: Final = 4096
"""The most characters of a member at the top of a batch: each entry may be logged with parts of it."""
ABOUT_ITSELF: Final = "a caller with a token may evaluate itself only: subject must be the token's"

Evaluates = Annotated[RequestContext, requires(Permission.EVALUATE, bearer_keys=True)]
EvaluationBody = Annotated[object, described_by(EvaluationRequest)]
BatchBody = Annotated[object, described_by(EvaluationsRequest, is_bulk=True)]

router: Final = APIRouter(tags=["AuthZEN"], route_class=ProtocolOperation)
tenant_router: Final = APIRouter(tags=["AuthZEN"], route_class=ProtocolOperation)


@tenant_router.post("/{tenant}/access/v1/evaluation", **answer(EvaluationOut))
@router.post("/access/v1/evaluation", **answer(EvaluationOut))
async def evaluate(ctx: Evaluates, body: EvaluationBody) -> Response:
    """Evaluate access (AuthZEN).

    Decided as in the mesh and as by `POST /api/v1/check`, and logged with entrance `authzen`. A caller with a
    token asks about itself, with the claims of its token; the others describe the subject.
    """
    return _single(ctx, body)


@tenant_router.post("/{tenant}/access/v1/evaluations", **answer(EvaluationsOut))
@router.post("/access/v1/evaluations", **answer(EvaluationsOut))
async def evaluate_several(ctx: Evaluates, body: BatchBody) -> Response:
    """Evaluate access several times (AuthZEN).

    Entries are evaluated in their order. One that is wrong has `decision` false and `context.error`; the
    others are evaluated. Without entries the request is a single evaluation.
    """
    batch = read_batch(body)
    if batch is None:
        return _single(ctx, body)
    if not isinstance(batch, Batch):
        raise wrong(batch)
    if len(batch.items) > MAX_EVALUATIONS:
        at_most = f"has {len(batch.items)} entries, at most {MAX_EVALUATIONS} are evaluated at once"
        raise malformed("the batch is too long", Problem("/evaluations", at_most))
    _check_defaults(batch, ctx.content)
    evaluator = Evaluator(ctx)
    answers: list[Document] = []
    last: NamedVerdict | None = None
    decisions = 0
    turns = Turns()
    for item in batch.items:
        question = read_item(item, batch.defaults)
        found = evaluator.verdict(question) if isinstance(question, Evaluation) else question
        if isinstance(found, AllowedByName | Denied):
            last, shown = found, _shown(found)
            decisions += found.reason not in NOT_NOW
        else:
            shown = _failed(found)
        answers.append(shown)
        if batch.semantic.ends_at(decision=shown["decision"] is True):
            break
        await turns.next()
    if last is not None and last.reason in NOT_NOW and not decisions:
        raise not_now(last)
    return Reply(200, {"evaluations": answers}).response()


@dataclass(frozen=True, slots=True)
class AboutAnother:
    """A caller with a token asked about another subject."""


class Evaluator:
    """Evaluates questions of one caller; what is the same for all of them is found once."""

    def __init__(self, ctx: RequestContext) -> None:
        """Take the context of the request."""
        self._ctx = ctx
        self._excluded = excluded_roles(ctx)
        self._last: tuple[AskedSubject, Principal | QuestionRejected | None] | None = None

    def principal(self, subject: AskedSubject) -> Principal | QuestionRejected | AboutAnother | None:
        """Return the principal that is asked about; a caller with a token has that of the token."""
        own = self._ctx.caller.principal
        if own is not None:
            return own if subject.kind is own.kind and subject.id == own.id else AboutAnother()
        if self._last is None or self._last[0] is not subject:
            self._last = (subject, subject.principal(self._ctx.tenant, self._excluded))
        return self._last[1]

    def verdict(self, evaluation: Evaluation) -> NamedVerdict | QuestionRejected | AboutAnother:
        """Return the decision, which is counted and logged."""
        principal = self.principal(evaluation.subject)
        if isinstance(principal, QuestionRejected | AboutAnother):
            return principal
        question = evaluation.question(self._ctx.services.snapshot(self._ctx.tenant))
        return decided(self._ctx.services, self._ctx.tenant, principal, question, AUTHZEN)


def _single(ctx: RequestContext, document: object) -> Response:
    question = read_evaluation(document)
    found = Evaluator(ctx).verdict(question) if isinstance(question, Evaluation) else question
    match found:
        case QuestionRejected():
            raise wrong(found)
        case AboutAnother():
            raise forbidden(ABOUT_ITSELF)
        case verdict if verdict.reason in NOT_NOW:
            raise not_now(verdict)
        case verdict:
            return Reply(200, _shown(verdict)).response()


def wrong(rejected: QuestionRejected) -> ProblemError:
    """Return 400 with every problem of a request."""
    count = len(rejected.problems)
    said = "one problem" if count == 1 else f"{count} problems"
    return malformed(f"the request has {said}: {_message(rejected)}", *rejected.problems)


def _message(rejected: QuestionRejected) -> str:
    return "; ".join(f"{each.pointer} {each.message}".strip() for each in rejected.problems)


def _failed(found: QuestionRejected | AboutAnother) -> Document:
    if isinstance(found, AboutAnother):
        error = {"status": 403, "message": ABOUT_ITSELF}
    else:
        error = {"status": 400, "message": _message(found)}
    return {"decision": False, "context": {"error": error}}


def _shown(verdict: NamedVerdict) -> Document:
    context: Document = {
        "reason": verdict.reason.value,
        "message": message_of(verdict.effect, verdict.reason),
        "matched_rule_id": None if verdict.rule is None else verdict.rule.id,
        "decision_id": verdict.decision_id,
        "policy_revision": verdict.policies.revision,
    }
    if verdict.reason in NOT_NOW:
        context["error"] = {"status": 503, "message": verdict.reason.text}
    return {"decision": isinstance(verdict, AllowedByName), "context": context}


def _check_defaults(batch: Batch, raw: object) -> None:
    """Refuse members at the top that are long: many lines of the decision log could repeat them."""
    if len(batch.items) == 1 or not isinstance(raw, bytes) or len(raw) <= MAX_DEFAULT:
        return
    problems = [
        Problem(f"/{member}", f"is longer than {MAX_DEFAULT} characters; give it in each entry")
        for member in ("subject", "resource")
        if member in batch.defaults.members and len(encode_json(batch.defaults.members[member])) > MAX_DEFAULT
    ]
    if problems:
        raise wrong(QuestionRejected(tuple(problems)))
