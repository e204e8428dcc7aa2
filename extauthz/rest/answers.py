"""Answers: a success with its headers, rows as JSON, and warnings about documents and stored rows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from enum import Enum
from http import HTTPStatus
from typing import Final
from uuid import UUID

from starlette.responses import Response

from extauthz.compile.documents.warnings import DocumentWarning, WarningCode
from extauthz.domain.problem import Problem
from extauthz.domain.time_text import rfc3339
from extauthz.rest.documents import Model, Warned
from extauthz.rest.preconditions import entity_tag
from extauthz.storage.encoding import encode_json
from extauthz.storage.rows import Document, Stored

POLICY_REVISION: Final = "X-Policy-Revision"
POLICY_WARNINGS: Final = "X-Policy-Warnings"
MAX_NAMED_ROWS: Final = 20


@dataclass(frozen=True, slots=True)
class Reply:
    """A success. `body` None is an empty one; `media_type` other than JSON makes it a text."""

    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    media_type: str = "application/json"

    def response(self) -> Response:
        """Return the HTTP response."""
        headers = {"Cache-Control": "no-store"} | dict(self.headers)
        if self.body is None:
            return Response(status_code=self.status, headers=headers)
        content = encode_json(self.body) if self.media_type == "application/json" else str(self.body)
        return Response(content, status_code=self.status, headers=headers, media_type=self.media_type)


def to_json(stored: Stored) -> Document:
    """Return a row as the API shows it."""
    return stored.document | {
        "created_at": rfc3339(stored.created_at),
        "updated_at": rfc3339(stored.updated_at),
    }


def members_of(model: type[Model], value: object, **others: object) -> Document:
    """Return a stored value as a model of answers shows it: each member is the attribute of that name.

    Times are RFC 3339 text, days, ids and enumerations text, tuples lists. `others` are members that are not
    attributes of the value.
    """
    return {
        name: others[name] if name in others else _in_json(getattr(value, name))
        for name in model.model_fields
        if name not in Warned.model_fields
    }


def _in_json(value: object) -> object:
    match value:
        case datetime():
            return rfc3339(value)
        case date():
            return value.isoformat()
        case UUID():
            return str(value)
        case Enum():
            return value.value
        case tuple():
            return list(value)
        case _:
            return value


def list_of(
    items: Sequence[object], next_cursor: str | None, headers: Mapping[str, str] | None = None
) -> Response:
    """Return a page of a list."""
    return Reply(HTTPStatus.OK, {"items": list(items), "next_cursor": next_cursor}, headers or {}).response()


def row_reply(
    status: int, show: Callable[[Stored], Document] = to_json, location: str | None = None
) -> Callable[[Stored, int], Reply]:
    """Return what makes the answer of a row that a write left behind."""

    def reply(stored: Stored, revision: int) -> Reply:
        headers = written_headers(revision, stored.revision)
        if location is not None:
            headers["Location"] = f"{location}/{stored.id}"
        return Reply(status, show(stored), headers)

    return reply


def written_headers(revision: int, version: int) -> dict[str, str]:
    """Return the headers of an answer to a write: the tenant's revision, and what the entity tag is of."""
    return {POLICY_REVISION: str(revision), "ETag": entity_tag(version)}


def tenant_reply(shown: object, revision: int, status: int = HTTPStatus.OK) -> Reply:
    """Return the answer of a change that is not about a single row: the entity tag is the tenant's."""
    return Reply(status, shown, written_headers(revision, revision))


def tagged(shown: Document, version: int) -> Response:
    """Return what a GET found, with its entity tag."""
    return Reply(HTTPStatus.OK, shown, {"ETag": entity_tag(version)}).response()


def no_content(_: object, revision: int) -> Reply:
    """Return the answer of a deletion."""
    return Reply(HTTPStatus.NO_CONTENT, headers={POLICY_REVISION: str(revision)})


def with_warnings(document: Document, warnings: Sequence[DocumentWarning | Document]) -> Document:
    """Return a document with further warnings: about itself, or (as JSON) about stored rows."""
    if not warnings:
        return document
    known = document.get("warnings", [])
    assert isinstance(known, list)
    shown = [asdict(each) if isinstance(each, DocumentWarning) else each for each in warnings]
    return document | {"warnings": [*known, *shown]}


def unreadable_row(problem: Problem, *, in_detail: bool) -> Document:
    """Return the warning about a row that is not in force; only administrators see its content."""
    kind, row_id, pointer = _place(problem)
    what = f"{pointer or 'the row'}: {problem.message}" if in_detail else "it is damaged"
    row = f"the stored {kind.replace('_', ' ')} {row_id}"
    return {
        "code": WarningCode.UNREADABLE_ROW.value,
        "pointer": f"/{kind}/{row_id}{pointer if in_detail else ''}",
        "message": f"{row} is not in force as it is stored: {what}; replace or delete it",
        "kind": kind,
        "id": row_id,
    }


def warnings_header(problems: Sequence[Problem]) -> str:
    """Return rows that are not in force as a list of RFC 9651."""
    return ", ".join(
        f'unreadable_row;kind="{kind}";id="{_quotable(row_id)}"' for kind, row_id, _ in map(_place, problems)
    )


def _quotable(text: str) -> str:
    return "".join(each for each in text if " " <= each <= "~" and each not in '"\\')


def _place(problem: Problem) -> tuple[str, str, str]:
    """Return the kind and id of the row that a problem is about, and the pointer into it."""
    kind, row_id, *rest = [*problem.pointer.split("/")[1:], "", ""]
    return kind, row_id, "".join(f"/{token}" for token in rest if token)
