"""Reading requests: bodies of bounded size and strict JSON, query parameters each given once.

A handler's parameter `body` says what is read: a model, a list of models, `Patch`, or lines of text. Errors:
`ProblemError` 400, 408, 413, 415 or 422.
"""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from inspect import Parameter
from types import NoneType, UnionType
from typing import Annotated, Any, Final, get_args, get_origin
from urllib.parse import parse_qsl
from uuid import UUID

from fastapi import Depends
from pydantic import TypeAdapter
from starlette.requests import ClientDisconnect, Request

from extauthz.domain.problem import Problem
from extauthz.domain.strict_json import JsonRejected, read_json
from extauthz.rest.documents import BodyModel, Patch, replacing, validate
from extauthz.rest.problems import (
    ParameterProblem,
    ProblemError,
    body_rejected,
    invalid,
    malformed,
    not_found,
)
from extauthz.storage.encoding import unstorable

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
MAX_BODY: Final = 2**20
MAX_BULK_BODY: Final = 8 * 2**20
_MAX_UNREAD: Final = 1024
_MAX_DEPTH: Final = 80
"""Enough for the deepest condition tree, 32 nodes of an object and a list each, in its document."""
_BODY_WAIT_S: Final = 30.0
_MAX_PARAMETERS: Final = 20


class MergePatch:
    """Marks the parameter `body` of a handler as a JSON merge patch (RFC 7396) of documents of a model."""

    def __init__(self, model: type[BodyModel]) -> None:
        self.model = model

    def __call__(self) -> None:
        """Be a dependency for FastAPI, which describes none of it."""


def merge_patch(model: type[BodyModel]) -> Any:
    """Return the annotation of a merge patch."""
    return Depends(MergePatch(model))


class DocumentBody:
    """What a handler reads as its body: `model`, and the media types of it.

    Lists and lines may have 8 MiB, other bodies 1 MiB. `replaces` says that a row is replaced by the body:
    then the members that the API itself adds to a row are ignored, so that a row may be sent back.
    """

    def __init__(self, parameter: Parameter, *, replaces: bool) -> None:
        """Read the parameter of a handler's signature."""
        annotation: Any = parameter.annotation
        marks: list[Any] = []
        if get_origin(annotation) is Annotated:
            annotation, *marks = get_args(annotation)
        dependencies = [getattr(mark, "dependency", None) for mark in marks]
        patches = [each.model for each in dependencies if isinstance(each, MergePatch)]
        choices = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
        self.required = NoneType not in choices
        self.model: Any
        self.model, *lists = patches or [each for each in choices if each is not NoneType]
        self.is_patch = bool(patches)
        self.is_text = self.model is str
        self.is_bulk = self.is_text or get_origin(self.model) is list
        self.media_types: tuple[str, ...] = (JSON, MERGE_PATCH) if patches else (JSON,)
        if self.is_text:
            self.media_types = (marks[0].media_type,)
        self._replaces = replaces
        self._adapter: TypeAdapter[Any] = TypeAdapter(self.model)
        self._list: TypeAdapter[Any] | None = TypeAdapter(lists[0]) if lists else None

    async def read(self, request: Request, ctx: Any) -> object:
        """Return the body, None when it is missing and not required; `ctx` is the `RequestContext`."""
        raw = await read_bytes(request, MAX_BULK_BODY if self.is_bulk else MAX_BODY)
        if not raw:
            if self.required:
                raise body_rejected("a body is needed")
            return None
        if self.is_text:
            ctx.content = _text(raw, request, self.media_types[0])
            return ctx.content
        document = ctx.content = parse_json(raw, request)
        if self.is_patch or self._replaces:
            row_id = list(request.path_params.values())[-1]
            if row_id_of(row_id) is None:
                raise not_found(f"there is no object with the id {row_id[:80]!r}")
            if self.is_patch:
                if not isinstance(document, Mapping):
                    raise invalid([Problem("", "an object is needed")])
                return Patch(self.model, document)
            document, problems = replacing(document, row_id, self.model.shown)
            return validate(self._adapter.validate_python, document, ctx, problems)
        if self._list is not None and not isinstance(document, Mapping):
            return validate(self._list.validate_python, document, ctx)
        own = not self.is_bulk and isinstance(document, Mapping)
        problems = self.model.problems_in(document, ctx) if own else []
        return validate(self._adapter.validate_python, document, ctx, problems)


def _text(raw: bytes, request: Request, media_type: str) -> str:
    _check_media_type(request, media_type)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise body_rejected(f"the body is not UTF-8 from byte {error.start} on") from None


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


def read_query(raw: bytes, known: frozenset[str]) -> dict[str, str]:
    """Return the parameters. Refuse an undecodable query, and a parameter that is unknown or given twice."""
    try:
        pairs = parse_qsl(
            raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS
        )
    except ValueError:
        raise malformed("the query is not UTF-8 in percent-encoding, or has too many parameters") from None
    found: dict[str, str] = {}
    problems: list[ParameterProblem] = []
    for name, value in pairs:
        if name not in known:
            wanted = f"known are {', '.join(sorted(known))}" if known else "it takes no parameters"
            problems.append(ParameterProblem(name[:80], f"is not a parameter here; {wanted}"))
        elif name in found:
            problems.append(ParameterProblem(name, "is given twice"))
        found[name] = value
    if problems:
        raise invalid(problems)
    return found


def row_id_of(text: str) -> UUID | None:
    """Return the id of a path; only its canonical spelling is one."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text else None
