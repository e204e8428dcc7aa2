"""Reading requests: bodies of bounded size and strict JSON, query parameters each given once.

FastAPI dependencies that a route declares after `requires(...)`, so that the caller is authenticated and
permitted before its body is read. Errors: `ProblemError` 400, 408, 413, 415 or 422.
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, Generic, TypeVar
from urllib.parse import parse_qsl
from uuid import UUID

from pydantic import TypeAdapter
from starlette.requests import ClientDisconnect, Request

from extauthz.admin.documents import Document, Patch, replacing, validate
from extauthz.admin.problems import ParameterProblem, ProblemError, body_rejected, invalid, malformed
from extauthz.domain.problem import Problem
from extauthz.domain.strict_json import JsonRejected, read_json
from extauthz.storage.encoding import unstorable

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
CSV: Final = "text/csv"
MAX_BODY: Final = 2**20
MAX_BULK_BODY: Final = 8 * 2**20
_MAX_UNREAD: Final = 1024
_MAX_DEPTH: Final = 80
"""Enough for the deepest condition tree, 32 nodes of an object and a list each, in its document."""
_BODY_WAIT_S: Final = 30.0
_MAX_PARAMETERS: Final = 20

_Model = TypeVar("_Model")


class JsonBody(Generic[_Model]):
    """Reads a JSON body as a model, in the context of the request. `bulk` allows 8 MiB instead of 1 MiB."""

    media_types: tuple[str, ...] = (JSON,)

    def __init__(self, model: Any, *, bulk: bool = False, required: bool = True) -> None:
        self.model = model
        self.bulk = bulk
        self.required = required
        self.adapter: TypeAdapter[_Model] = TypeAdapter(model)

    def described_as(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the schema of the body in the OpenAPI document."""
        return schema

    async def __call__(self, request: Request) -> _Model | None:
        """Return the body, None when it is missing and not required."""
        raw = await read_bytes(request, MAX_BULK_BODY if self.bulk else MAX_BODY)
        if not raw:
            if self.required:
                raise body_rejected("a body is needed")
            return None
        document = parse_json(raw, request)
        request.state.context.content = document
        return self._read(document, request)

    def _read(self, document: object, request: Request) -> _Model:
        return validate(self.adapter, document, request.state.context)


class ReplacingBody(JsonBody[_Model]):
    """Reads the body of a PUT to one row: the API's own members of a row that was read are ignored."""

    def __init__(self, model: Any, noun: str, *, id_of: str = "id") -> None:
        super().__init__(model)
        self.noun = noun
        self.id_of = id_of

    def _read(self, document: object, request: Request) -> _Model:
        row_id = request.state.context.row_id(self.noun, self.id_of)
        document, problems = replacing(document, row_id, self.model.shown)
        return validate(self.adapter, document, request.state.context, problems)


class PatchBody(ReplacingBody[Patch]):
    """Reads a JSON merge patch (RFC 7396) of a document."""

    media_types = (JSON, MERGE_PATCH)

    def _read(self, document: object, request: Request) -> Patch:
        request.state.context.row_id(self.noun)
        if not isinstance(document, Mapping):
            raise invalid([Problem("", "an object is needed")])
        assert issubclass(self.model, Document)
        return Patch(self.model, document)


class TextBody:
    """Reads a body of lines in UTF-8."""

    required = True

    def __init__(self, media_type: str, example: str) -> None:
        self.media_types = (media_type,)
        self.example = example

    async def __call__(self, request: Request) -> str:
        """Return the text."""
        raw = await read_bytes(request, MAX_BULK_BODY)
        if not raw:
            raise body_rejected("a body is needed")
        _check_media_type(request, self.media_types[0])
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise body_rejected(f"the body is not UTF-8 from byte {error.start} on") from None
        request.state.context.content = text
        return text


async def refuse_body(request: Request) -> None:
    """Refuse a body where none is read: the write would seem to have done what the body says."""
    try:
        raw = await read_bytes(request, _MAX_UNREAD)
        document = parse_json(raw, request) if raw else {}
    except ProblemError:
        document = None
    if document != {}:
        raise invalid([Problem("", "no body is read here; send none")])


def parse_json(raw: bytes, request: Request) -> object:
    """Return the JSON value of a body that can be stored."""
    _check_media_type(request, JSON)
    document = read_json(raw, max_depth=_MAX_DEPTH)
    if isinstance(document, JsonRejected):
        raise body_rejected(f"the body cannot be read as JSON: {document.problem}")
    if problems := unstorable(document):
        raise invalid(problems)
    return document


def _check_media_type(request: Request, media_type: str) -> None:
    sent = request.headers.get("content-type", media_type).partition(";")[0].strip().lower()
    if sent != media_type and not (media_type == JSON and sent.endswith("+json")):
        detail = f"the body is {sent[:80]!r}; send {media_type}"
        raise body_rejected(detail, HTTPStatus.UNSUPPORTED_MEDIA_TYPE)


async def read_bytes(request: Request, max_bytes: int) -> bytes:
    """Return the bytes of a body; one that is declared too long is refused before it is read."""
    too_long = body_rejected(
        f"the body is longer than {max_bytes} bytes", HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    )
    declared = request.headers.get("content-length", "0")
    if not declared.isdigit() or len(declared) > 18 or int(declared) > max_bytes:
        raise too_long
    parts: list[bytes] = []
    length = 0
    try:
        async with asyncio.timeout(_BODY_WAIT_S):
            async for part in request.stream():
                length += len(part)
                if length > max_bytes:
                    raise too_long
                parts.append(part)
    except TimeoutError:
        raise body_rejected("the body did not arrive in time", HTTPStatus.REQUEST_TIMEOUT) from None
    except ClientDisconnect:
        raise body_rejected("the body ended early") from None
    return b"".join(parts)


def check_query(raw: bytes, known: frozenset[str]) -> None:
    """Refuse a query string that cannot be decoded, and parameters that are unknown or given twice."""
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS
        )
    except ValueError:
        raise malformed("the query is not UTF-8 in percent-encoding, or has too many parameters") from None
    found: set[str] = set()
    problems: list[ParameterProblem] = []
    for name, _ in pairs:
        if name not in known:
            wanted = f"known are {', '.join(sorted(known))}" if known else "it takes no parameters"
            problems.append(ParameterProblem(name[:80], f"is not a parameter here; {wanted}"))
        elif name in found:
            problems.append(ParameterProblem(name, "is given twice"))
        found.add(name)
    if problems:
        raise invalid(problems)


def row_id_of(text: str) -> UUID | None:
    """Return the id of a path; only its canonical spelling is one."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text else None
