"""The OpenAPI 3.1 document, made from the operations that are served."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Final

from extauthz import __version__
from extauthz.admin.examples import EXAMPLE_ID
from extauthz.admin.operation import Answer, Content, Operation, Who
from extauthz.admin.problems import MEDIA_TYPE, ProblemDetails
from extauthz.admin.schemas import SCHEMAS
from extauthz.domain.problem import Problem

_ALWAYS: Final = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.UNPROCESSABLE_ENTITY,
    HTTPStatus.TOO_MANY_REQUESTS,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_WITH_BODY: Final = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
)
_MEANING: Final = {
    HTTPStatus.BAD_REQUEST: ("Not understood", "the body cannot be read as JSON: not JSON"),
    HTTPStatus.UNAUTHORIZED: ("No credential, or one that is not good", "the token has expired"),
    HTTPStatus.FORBIDDEN: ("The caller may not", "the domain 'apac' is not yours to administer"),
    HTTPStatus.NOT_FOUND: ("There is no such object in the tenant", f"there is no role rule '{EXAMPLE_ID}'"),
    HTTPStatus.REQUEST_TIMEOUT: ("The body came too slowly", "the body did not arrive in time"),
    HTTPStatus.CONFLICT: ("It contradicts what is stored", "the write contradicts what is stored"),
    HTTPStatus.PRECONDITION_FAILED: (
        "`If-Match` names another state",
        "the object was written since it was read",
    ),
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: ("The body is too long", "the body is longer than 1048576 bytes"),
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: (
        "The body is of another media type",
        "the body is 'text/plain'; send application/json",
    ),
    HTTPStatus.UNPROCESSABLE_ENTITY: ("Understood, and wrong", "the request has one problem"),
    HTTPStatus.TOO_MANY_REQUESTS: (
        "Too many bad credentials came from this address; a good one is never refused",
        "too many credentials that are no good came from this address; a good one is still taken",
    ),
    HTTPStatus.SERVICE_UNAVAILABLE: (
        "Try again",
        "the database does not answer in time; nothing was stored; try again",
    ),
}
_PROBLEM_HEADERS: Final = {
    HTTPStatus.UNAUTHORIZED: ("WWW-Authenticate",),
    HTTPStatus.TOO_MANY_REQUESTS: ("Retry-After",),
    HTTPStatus.SERVICE_UNAVAILABLE: ("Retry-After",),
}
_COMPONENTS: Final = {
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "REQUEST_ENTITY_TOO_LARGE",
    HTTPStatus.UNPROCESSABLE_ENTITY: "UNPROCESSABLE_ENTITY",
}
_OF_THE_BODY: Final = (HTTPStatus.BAD_REQUEST, *_WITH_BODY)
_ERRORS: Final = {
    HTTPStatus.UNPROCESSABLE_ENTITY: (
        Problem("/effect", "found 'permit', one of 'allow', 'deny' is needed"),
    ),
    **{status: (Problem("", _MEANING[status][1]),) for status in _OF_THE_BODY},
}
_MEMBERS: Final[Mapping[HTTPStatus, Mapping[str, object]]] = {
    HTTPStatus.CONFLICT: {"ids": [EXAMPLE_ID]},
    HTTPStatus.UNAUTHORIZED: {"reason": "token_expired"},
    HTTPStatus.TOO_MANY_REQUESTS: {"reason": "api_key_invalid"},
    HTTPStatus.SERVICE_UNAVAILABLE: {"reason": "database_timeout"},
}

HEADERS: Final[Mapping[str, object]] = {
    "X-Policy-Revision": {
        "description": "the tenant's revision under which the write is in effect",
        "schema": {"type": "integer", "format": "int64"},
    },
    "X-Policy-Warnings": {
        "description": (
            "on answers to writes, when there are any: the rows of the tenant that are not in force as they "
            'are stored, as a list of RFC 9651: `unreadable_row;kind="attribute_policy";id="0190..."`'
        ),
        "schema": {"type": "string"},
    },
    "ETag": {"description": "names this state of the object, for `If-Match`", "schema": {"type": "string"}},
    "Location": {"description": "where the new object is", "schema": {"type": "string"}},
    "Link": {"description": 'RFC 8288; `rel="next"` when there are more', "schema": {"type": "string"}},
    "WWW-Authenticate": {"description": "RFC 6750 challenge", "schema": {"type": "string"}},
    "Retry-After": {"description": "seconds", "schema": {"type": "integer"}},
}
_SECURITY: Final = {
    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "serviceKey": {"type": "apiKey", "in": "header", "name": "X-Service-Api-Key"},
    "adminKey": {"type": "apiKey", "in": "header", "name": "X-Admin-Api-Key"},
    "adminSession": {
        "type": "http",
        "scheme": "bearer",
        "description": "the token of `POST /admin/session`, on `/admin` only",
    },
}
_TAKEN: Final[Mapping[Who, tuple[str, ...]]] = {
    Who.OPERATOR: ("adminKey", "adminSession"),
    Who.ADMIN_KEY: ("adminKey",),
}
_TAKEN_ELSEWHERE: Final = ("token", "serviceKey", "adminKey")
_IF_MATCH: Final = {
    "name": "If-Match",
    "in": "header",
    "description": "write only if the object is in this state",
    "schema": {"type": "string", "examples": ['"7"']},
}
_DESCRIPTION: Final = """\
Who may pass, and why: resources, role rules, role bindings and attribute policies of one tenant.

Callers send exactly one credential: `Authorization: Bearer` with a token of a registered issuer, a service
key in `X-Service-Api-Key`, or the operator's key in `X-Admin-Api-Key` (in `MODE=selfhost` also a tenant
admin, in `MODE=saas` for `/admin` only). Many bad credentials from one address are slowed down.

Errors are RFC 9457 problem details and name every misfit at once. Writes return `X-Policy-Revision`; pass it
as `min_revision` to a check.

A stored row that was damaged outside this API holds up no write; the answers to writes name it in `warnings`
and in the header `X-Policy-Warnings`."""


def document(operations: Iterable[Operation]) -> dict[str, object]:
    """Return the whole document; plain JSON values."""
    paths: dict[str, dict[str, object]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "extauthz",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{scheme: []} for scheme in _TAKEN_ELSEWHERE],
        "paths": paths | _UNGUARDED,
        "components": {
            "schemas": dict(SCHEMAS),
            "headers": dict(HEADERS),
            "securitySchemes": dict(_SECURITY),
            "responses": {_component(status): _problem(status) for status in _MEANING},
        },
    }


def _operation(operation: Operation) -> dict[str, object]:
    described: dict[str, object] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": f"For {operation.who.value}. {operation.description}".strip(),
        "parameters": _parameters(operation),
        "responses": _responses(operation),
    }
    if (taken := _TAKEN.get(operation.who)) is not None:
        described["security"] = [{scheme: []} for scheme in taken]
    if operation.body is not None:
        described["requestBody"] = {
            "required": operation.body.required,
            "content": _content(operation.body),
        }
    return described


def _parameters(operation: Operation) -> list[object]:
    found: list[object] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": schema["description"],
            "schema": dict(schema),
        }
        for name, schema in operation.path_schemas.items()
        if f"{{{name}}}" in operation.path
    ]
    found += [
        {
            "name": parameter.name,
            "in": "query",
            "description": parameter.description,
            "schema": dict(parameter.schema),
        }
        for parameter in operation.parameters
    ]
    if operation.preconditions:
        found.append(_IF_MATCH)
    return found


def _responses(operation: Operation) -> dict[str, object]:
    responses: dict[str, object] = {str(answer.status.value): _answer(answer) for answer in operation.answers}
    statuses = {*_ALWAYS, *operation.problems}
    if operation.body is not None:
        statuses.update(_WITH_BODY)
    if operation.preconditions:
        statuses.add(HTTPStatus.PRECONDITION_FAILED)
    for status in sorted(statuses):
        responses.setdefault(str(status.value), {"$ref": f"#/components/responses/{_component(status)}"})
    return responses


def _component(status: HTTPStatus) -> str:
    """Return the name of a response, which generators of clients use: CPython 3.13 renamed two statuses."""
    return _COMPONENTS.get(status, status.name)


def _answer(answer: Answer) -> dict[str, object]:
    described: dict[str, object] = {"description": answer.description}
    if answer.headers:
        described["headers"] = _headers(answer.headers)
    if answer.content is not None:
        described["content"] = _content(answer.content)
        if answer.status is HTTPStatus.FORBIDDEN:
            described["content"] = _content(answer.content) | _problem_content(answer.status)
    return described


def _headers(names: Iterable[str]) -> dict[str, object]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _content(content: Content) -> dict[str, object]:
    schema: dict[str, object] = {"$ref": f"#/components/schemas/{content.schema}"}
    if content.array:
        schema = {"type": "array", "items": schema}
    return {media_type: {"schema": schema, "example": content.example} for media_type in content.media_types}


def _problem(status: HTTPStatus) -> dict[str, object]:
    described: dict[str, object] = {
        "description": _MEANING[status][0],
        "content": _problem_content(status),
    }
    if headers := _PROBLEM_HEADERS.get(status):
        described["headers"] = _headers(headers)
    return described


def _problem_content(status: HTTPStatus) -> dict[str, object]:
    example = ProblemDetails(
        status, _MEANING[status][1], _ERRORS.get(status, ()), _MEMBERS.get(status, {})
    ).document()
    return {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}, "example": example}}


def _unguarded(name: str, summary: str, responses: Mapping[str, object]) -> dict[str, object]:
    return {
        "get": {
            "operationId": name,
            "tags": ["Health"],
            "summary": summary,
            "security": [],
            "responses": dict(responses),
        }
    }


def _status(example: object) -> dict[str, object]:
    schema = {
        "type": "object",
        "properties": {
            "status": {"type": "string", "enum": ["ok", "degraded"]},
            "checks": {
                "type": "object",
                "additionalProperties": {"type": "string", "enum": ["ok", "unavailable"]},
            },
        },
        "required": ["status"],
    }
    return {"application/json": {"schema": schema, "example": example}}


_UNGUARDED: Final = {
    "/healthz/live": _unguarded(
        "live",
        "Whether the process answers",
        {"200": {"description": "It does", "content": _status({"status": "ok"})}},
    ),
    "/healthz/ready": _unguarded(
        "ready",
        "Whether to send it work",
        {
            "200": {"description": "Yes", "content": _status({"status": "ok", "checks": {"database": "ok"}})},
            "503": {
                "description": "No",
                "content": _status({"status": "degraded", "checks": {"database": "unavailable"}}),
            },
        },
    ),
    "/metrics": _unguarded(
        "metrics",
        "Counters for Prometheus; restrict it by network",
        {
            "200": {
                "description": "Prometheus text",
                "content": {"text/plain": {"schema": {"type": "string"}, "example": "extauthz_ready 1\n"}},
            }
        },
    ),
}
