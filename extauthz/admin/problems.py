"""Everything that is not a success: RFC 9457 problem details, all misfits of a request at once."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import islice
from typing import Final

from starlette.responses import Response

from extauthz.domain.problem import Problem
from extauthz.storage.encoding import encode_json
from extauthz.storage.outcome import Conflict, DatabaseUnavailable, Invalid, NotFound, Refusal, Stale

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER: Final = ("Retry-After", "1")
_MAX_ERRORS: Final = 1000
# RFC 9110 15.5. Before CPython 3.13 `HTTPStatus` has the phrases of RFC 7231 and 4918 here.
_RENAMED: Final = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


def title_of(status: HTTPStatus) -> str:
    """Return the name that RFC 9110 gives to a status, the same on every interpreter."""
    return _RENAMED.get(status.value, status.phrase)


@dataclass(frozen=True, slots=True)
class ParameterProblem:
    """One misfit in the query string or in a header, named by `parameter`."""

    parameter: str
    message: str


@dataclass(frozen=True, slots=True)
class LineProblem:
    """One misfit in a body of lines, the first being 1."""

    line: int
    message: str


Misfit = Problem | ParameterProblem | LineProblem


@dataclass(frozen=True, slots=True)
class ProblemDetails:
    """An answer that refuses. `members` are RFC 9457 extension members, such as `reason` and `ids`."""

    status: HTTPStatus
    detail: str
    errors: tuple[Misfit, ...] = ()
    members: Mapping[str, object] = field(default_factory=dict)
    headers: tuple[tuple[str, str], ...] = ()

    def document(self) -> dict[str, object]:
        """Return the JSON form. `type` is left at its default, so `title` is the name of the status."""
        document: dict[str, object] = {
            "type": "about:blank",
            "title": title_of(self.status),
            "status": self.status.value,
        }
        if self.detail:
            document["detail"] = self.detail
        if self.errors:
            document["errors"] = [_error(each) for each in self.errors[:_MAX_ERRORS]]
        return document | dict(self.members)

    def response(self) -> Response:
        """Return the HTTP response."""
        return Response(
            encode_json(self.document()),
            status_code=self.status,
            headers={"Cache-Control": "no-store"} | dict(self.headers),
            media_type=MEDIA_TYPE,
        )


def _error(each: Misfit) -> dict[str, object]:
    if isinstance(each, ParameterProblem):
        return {"parameter": each.parameter, "message": each.message}
    if isinstance(each, LineProblem):
        return {"line": each.line, "message": each.message}
    return {"pointer": each.pointer, "message": each.message}


def invalid(problems: Iterable[Misfit]) -> ProblemDetails:
    """Return 422: understood, and wrong."""
    errors = tuple(problems)
    count = "one problem" if len(errors) == 1 else f"{len(errors)} problems"
    return ProblemDetails(HTTPStatus.UNPROCESSABLE_ENTITY, f"the request has {count}", errors)


def malformed(detail: str, *errors: Misfit) -> ProblemDetails:
    """Return 400: not understood."""
    return ProblemDetails(HTTPStatus.BAD_REQUEST, detail, errors)


def unreadable(detail: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> ProblemDetails:
    """Return that the body as a whole is not to be read."""
    return ProblemDetails(status, detail, (Problem("", detail),))


def forbidden(detail: str, *, errors: Iterable[Misfit] = (), **members: object) -> ProblemDetails:
    """Return 403: the caller is known, and may not."""
    return ProblemDetails(HTTPStatus.FORBIDDEN, detail, tuple(errors), members)


def not_found(detail: str) -> ProblemDetails:
    """Return 404; what belongs to another tenant or domain is not found either."""
    return ProblemDetails(HTTPStatus.NOT_FOUND, detail)


def conflict(detail: str, ids: Iterable[str], errors: Iterable[Misfit] = ()) -> ProblemDetails:
    """Return 409 naming the rows in the way, the first thousand of them."""
    return ProblemDetails(HTTPStatus.CONFLICT, detail, tuple(errors), {"ids": list(islice(ids, _MAX_ERRORS))})


def precondition_failed(detail: str) -> ProblemDetails:
    """Return 412: `If-Match` names another state."""
    return ProblemDetails(HTTPStatus.PRECONDITION_FAILED, detail)


def unavailable(detail: str, **members: object) -> ProblemDetails:
    """Return 503 with `Retry-After`."""
    return ProblemDetails(HTTPStatus.SERVICE_UNAVAILABLE, detail, members=members, headers=(RETRY_AFTER,))


def throttled(wait: int, **members: object) -> ProblemDetails:
    """Return 429: `wait` seconds to go before another bad credential is looked at as one."""
    detail = "too many credentials that are no good came from this address; a good one is still taken"
    return ProblemDetails(
        HTTPStatus.TOO_MANY_REQUESTS, detail, members=members, headers=(("Retry-After", str(wait)),)
    )


INTERNAL_ERROR: Final = ProblemDetails(HTTPStatus.INTERNAL_SERVER_ERROR, "")
"""The last resort: it says nothing, the application log says what happened."""


def of_refusal(refusal: Refusal, *, entries: str | None = None) -> ProblemDetails:
    """Return what a refusal of the storage means to the caller.

    `entries` points to the list whose entries were written: clashes point at them then.
    """
    match refusal:
        case Invalid(problems):
            return invalid(problems)
        case Conflict():
            return _clashing(refusal, entries)
        case NotFound(kind, row_id):
            return not_found(f"there is no {_noun(kind)} {row_id!r}")
        case Stale():
            return precondition_failed(f"the {_noun(refusal.kind)} was written since it was read")
        case DatabaseUnavailable():
            return _without_database(refusal)


def _without_database(refusal: DatabaseUnavailable) -> ProblemDetails:
    """Return 503 with the kind of the cause. What PostgreSQL says about it is for the log."""
    if refusal.outcome_unknown:
        return unavailable(
            f"{refusal.kind.text} while the change was committed: it is stored entirely or not at all, and "
            "which of the two is not known; read it before you send it again",
            reason=refusal.kind.value,
            outcome="unknown",
        )
    return unavailable(f"{refusal.kind.text}; nothing was stored; try again", reason=refusal.kind.value)


def _clashing(refusal: Conflict, entries: str | None) -> ProblemDetails:
    errors = tuple(
        Problem("" if entries is None else f"{entries}/{clash.index}", str(clash))
        for clash in refusal.clashes
    )
    if not errors:
        return conflict(f"another {_noun(refusal.kind)} like this is stored already", refusal.ids)
    return conflict("the write contradicts what is stored", refusal.ids, errors)


def _noun(kind: str) -> str:
    return kind.replace("_", " ")
