"""Operations of a standard protocol, whose requests and errors are as its specification says.

Members that are not known are ignored, as is the query. What other operations answer with 415 or 422 is 400.
`X-Request-ID` of a request is also in its answer.
"""

from collections.abc import Callable
from http import HTTPStatus
from inspect import signature
from typing import Any, Final, get_args

from fastapi import Depends
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response

from extauthz.domain.reasons import Reason
from extauthz.domain.strict_json import JsonRejected, read_json
from extauthz.rest.documents import Model
from extauthz.rest.operation import Operation
from extauthz.rest.problems import body_rejected, forbidden, malformed
from extauthz.rest.request_body import JSON, MAX_BODY, read_bytes
from extauthz.storage.encoding import unstorable

MAX_REQUEST_ID: Final = 256
"""The most characters of a request identifier that is repeated in the answer."""
_REQUEST_ID: Final = "X-Request-ID"
_MAX_DEPTH: Final = 32


class Described:
    """Marks the parameter `body` of a handler as JSON that a model describes and does not read."""

    def __init__(self, model: type[Model], *, is_bulk: bool) -> None:
        self.model = model
        self.is_bulk = is_bulk

    def __call__(self) -> None:
        """Be a dependency for FastAPI, which describes none of it."""


def described_by(model: type[Model], *, is_bulk: bool = False) -> Any:
    """Return the annotation of a body; one that `is_bulk` may have 2 MiB, another one 1 MiB."""
    return Depends(Described(model, is_bulk=is_bulk))


class ProtocolOperation(Operation):
    """An operation whose handler gets the JSON value of the body, and judges it.

    `{tenant}` in its path must be the tenant of the caller.
    """

    never = frozenset({HTTPStatus.UNSUPPORTED_MEDIA_TYPE.value, HTTPStatus.UNPROCESSABLE_ENTITY.value})

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        # `Annotated` of `described_by`, without which this raises.
        mark: Described = get_args(signature(endpoint).parameters["body"].annotation)[1].dependency
        self.described_body = mark.model
        self.max_bytes = 2 * MAX_BODY if mark.is_bulk else MAX_BODY
        if "{tenant}" in path:
            self.operation_id = f"{self.operation_id}OfTenant"

    async def answer(self, request: Request) -> Response:
        """Answer a request, with its identifier."""
        return repeat_request_id(request, await super().answer(request))

    async def _run(self, request: Request) -> Response:
        ctx = await self.requires(request)
        if ctx.path_params.get("tenant", ctx.tenant) != ctx.tenant:
            reason = Reason.TENANT_MISMATCH
            raise forbidden(f"{reason.text} than the path", reason=reason.value)
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type != JSON:
            raise body_rejected(f"Content-Type is {media_type[:80]!r}; send {JSON}")
        raw = await read_bytes(request, self.max_bytes)
        if not raw:
            raise body_rejected("a body is needed")
        document = read_json(raw, max_depth=_MAX_DEPTH)
        if isinstance(document, JsonRejected):
            raise body_rejected(f"the body cannot be read as JSON: {document.problem}")
        # Of all that cannot be stored or logged, only U+0000 is left here, and JSON can only escape it.
        if b"u0000" in raw and (problems := unstorable(document)):
            raise malformed("the body has a value that is not accepted", *problems)
        ctx.content = raw
        response: Response = await self.endpoint(ctx=ctx, body=document)
        return response


def repeat_request_id(request: Request, response: Response) -> Response:
    """Return the answer to a request, with its identifier."""
    request_id = request_id_of(request.headers)
    if request_id is not None:
        response.headers[_REQUEST_ID] = request_id
    return response


def request_id_of(headers: Headers) -> str | None:
    """Return the identifier to repeat: one header of at most 256 printable ASCII characters; else None."""
    given = headers.getlist(_REQUEST_ID)
    if len(given) != 1 or not 0 < len(given[0]) <= MAX_REQUEST_ID:
        return None
    return given[0] if given[0].isascii() and given[0].isprintable() else None
