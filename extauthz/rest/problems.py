"""RFC 9457 problem details: one error that ends a request, with every problem of the request in it.

A handler raises `ProblemError`; the route turns it into `application/problem+json`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from itertools import islice
from typing import Final, TypeVar

from starlette.responses import Response

from extauthz.compile.documents.casbin_lines import LineProblem
from extauthz.domain.problem import Problem
from extauthz.storage.encoding import encode_json
from extauthz.storage.outcome import Conflict, DatabaseUnavailable, Invalid, NotFound, Refusal, Withheld

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER: Final = ("Retry-After", "1")
_MAX_ERRORS: Final = 1000
_Value = TypeVar("_Value")
# RFC 9110 15.5. Before CPython 3.13 `HTTPStatus` has the phrases of RFC 7231 and 4918 here.
_TITLES: Final = {
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
}


def title_of(status: HTTPStatus) -> str:
    """Return the name that RFC 9110 gives to a status, the same on every interpreter."""
    return _TITLES.get(status.value, status.phrase)


@dataclass(frozen=True, slots=True)
class ParameterProblem:
    """A problem in the query string or in a header, named by `parameter`."""

    parameter: str
    message: str


AnyProblem = Problem | ParameterProblem | LineProblem


class ProblemError(Exception):
    """Ends a request with a problem document.

    `members` are RFC 9457 extension members, such as `reason` and `ids`.
    """

    def __init__(
        self,
        status: HTTPStatus,
        detail: str,
        errors: Iterable[AnyProblem] = (),
        members: Mapping[str, object] | None = None,
        headers: Iterable[tuple[str, str]] = (),
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = tuple(errors)
        self.members = dict(members or {})
        self.headers = dict(headers)

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
            document["errors"] = [asdict(each) for each in self.errors[:_MAX_ERRORS]]
        return document | self.members

    def response(self) -> Response:
        """Return the HTTP response."""
        return Response(
            encode_json(self.document()),
            status_code=self.status,
            headers={"Cache-Control": "no-store"} | self.headers,
            media_type=MEDIA_TYPE,
        )


def invalid(problems: Iterable[AnyProblem]) -> ProblemError:
    """Return 422: the request is well-formed and violates the schema or a rule."""
    errors = tuple(problems)
    count = "one problem" if len(errors) == 1 else f"{len(errors)} problems"
    return ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, f"the request has {count}", errors)


def malformed(detail: str, *errors: AnyProblem) -> ProblemError:
    """Return 400: the request cannot be parsed."""
    return ProblemError(HTTPStatus.BAD_REQUEST, detail, errors)


def body_rejected(detail: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST) -> ProblemError:
    """Return that the body as a whole cannot be read."""
    return ProblemError(status, detail, (Problem("", detail),))


def forbidden(detail: str, *, errors: Iterable[AnyProblem] = (), **members: object) -> ProblemError:
    """Return 403: the caller is authenticated and lacks a permission."""
    return ProblemError(HTTPStatus.FORBIDDEN, detail, errors, members)


def not_found(detail: str) -> ProblemError:
    """Return 404; rows of another tenant or domain are not found either."""
    return ProblemError(HTTPStatus.NOT_FOUND, detail)


def conflict(detail: str, ids: Iterable[str], errors: Iterable[AnyProblem] = ()) -> ProblemError:
    """Return 409 with the ids of the conflicting rows, the first thousand of them."""
    return ProblemError(HTTPStatus.CONFLICT, detail, errors, {"ids": list(islice(ids, _MAX_ERRORS))})


def precondition_failed(detail: str) -> ProblemError:
    """Return 412: `If-Match` names another state."""
    return ProblemError(HTTPStatus.PRECONDITION_FAILED, detail)


def unavailable(detail: str, **members: object) -> ProblemError:
    """Return 503 with `Retry-After`."""
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, detail, members=members, headers=(RETRY_AFTER,))


def throttled(wait: int, **members: object) -> ProblemError:
    """Return 429: after `wait` seconds the next invalid credential is answered 401 again."""
    detail = "too many invalid credentials from this address; valid credentials are still accepted"
    headers = (("Retry-After", str(wait)),)
    return ProblemError(HTTPStatus.TOO_MANY_REQUESTS, detail, members=members, headers=headers)


def internal_error() -> ProblemError:
    """Return 500 without detail: the application log has the cause."""
    return ProblemError(HTTPStatus.INTERNAL_SERVER_ERROR, "")


def accepted(found: _Value | Refusal, *, entries: str | None = None) -> _Value:
    """Return what the storage returned, and raise its refusal as `of_refusal` does."""
    if isinstance(found, Refusal):
        raise of_refusal(found, entries=entries)
    return found


def of_refusal(refusal: Refusal, *, entries: str | None = None) -> ProblemError:
    """Return what a refusal by the storage means to the caller.

    `entries` is the pointer of the list whose entries were written; conflicts then point to the entries.
    """
    match refusal:
        case Invalid(problems):
            return invalid(problems)
        case Conflict():
            return _conflicting(refusal, entries)
        case Withheld(reason, detail, clashes):
            errors = tuple(Problem("", clash.message) for clash in clashes)
            refused = conflict(detail, refusal.ids, errors)
            refused.members |= {"reason": reason}
            return refused
        case NotFound(kind, row_id):
            return not_found(f"there is no {_noun(kind)} {row_id!r}")
        case DatabaseUnavailable():
            return _without_database(refusal)


def _without_database(refusal: DatabaseUnavailable) -> ProblemError:
    """Return 503 with the kind of the cause. The text of PostgreSQL is in the log only."""
    if refusal.outcome_unknown:
        return unavailable(
            f"{refusal.kind.text} while the change was committed: it is stored entirely or not at all; "
            "read the object before you send the request again",
            reason=refusal.kind.value,
            outcome="unknown",
        )
    return unavailable(f"{refusal.kind.text}; nothing was stored; try again", reason=refusal.kind.value)


def _conflicting(refusal: Conflict, entries: str | None) -> ProblemError:
    errors = tuple(
        Problem("" if entries is None else f"{entries}/{clash.index}", str(clash))
        for clash in refusal.clashes
    )
    if not errors:
        return conflict(f"another {_noun(refusal.kind)} with this value is stored already", refusal.ids)
    return conflict("the write contradicts what is stored", refusal.ids, errors)


def _noun(kind: str) -> str:
    return kind.replace("_", " ")
