"""The parts of the OpenAPI document without a model or a route: problems, headers, conditions, health."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from extauthz.admin.documents import EXAMPLE_ID
from extauthz.admin.problems import MEDIA_TYPE, ProblemError
from extauthz.admin.request_body import JSON
from extauthz.compile.operators import OPERATORS
from extauthz.domain.problem import Problem

Schema = dict[Any, Any]
REF: Final = "#/components/schemas/"
# status: description; detail, pointer and members of the example
PROBLEMS: Final[Mapping[int, tuple[str, str, str | None, Schema]]] = {
    400: ("The request cannot be parsed", "the body cannot be read as JSON: not JSON", "", {}),
    401: ("The credential is missing or invalid", "the token has expired", None, {"reason": "token_expired"}),
    403: ("The caller lacks the permission", "you do not administer the domain 'apac'", None, {}),
    404: ("There is no such object in the tenant", f"there is no role rule '{EXAMPLE_ID}'", None, {}),
    408: ("The body timed out", "the body did not arrive in time", "", {}),
    409: (
        "The request contradicts what is stored, or an earlier request with its `Idempotency-Key`",
        "the write contradicts what is stored",
        None,
        {"ids": [EXAMPLE_ID]},
    ),
    412: ("`If-Match` names another state", "the object was written since it was read", None, {}),
    413: ("The body is too long", "the body is longer than 1048576 bytes", "", {}),
    415: ("The body is of another media type", "the body is 'text/plain'; send application/json", "", {}),
    422: ("The request violates the schema or a rule", "the request has one problem", "/effect", {}),
    429: (
        "Too many invalid credentials came from this address; a valid one is never refused",
        "too many invalid credentials from this address; valid credentials are still accepted",
        None,
        {"reason": "api_key_invalid"},
    ),
    503: (
        "Try again",
        "the database does not answer in time; nothing was stored; try again",
        None,
        {"reason": "database_timeout"},
    ),
}
_PROBLEM_HEADERS: Final = {401: "WWW-Authenticate", 429: "Retry-After", 503: "Retry-After"}
# Names that generators of clients use; CPython 3.13 renamed two statuses.
_COMPONENTS: Final = {413: "REQUEST_ENTITY_TOO_LARGE", 422: "UNPROCESSABLE_ENTITY"}
HEADERS: Final = {
    "X-Policy-Revision": ("integer", "the tenant's revision under which the write is in effect"),
    "X-Policy-Warnings": (
        "string",
        "on answers to writes: the rows of the tenant that are not in force as they are stored (RFC 9651)",
    ),
    "ETag": ("string", "the state of the object, for `If-Match`"),
    "Location": ("string", "the path of the new object"),
    "Link": ("string", 'RFC 8288; `rel="next"` when there are more'),
    "WWW-Authenticate": ("string", "RFC 6750 challenge"),
    "Retry-After": ("integer", "seconds"),
}
SECURITY: Final = {
    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "serviceKey": {"type": "apiKey", "in": "header", "name": "X-Service-Api-Key"},
    "adminKey": {"type": "apiKey", "in": "header", "name": "X-Admin-Api-Key"},
    "adminSession": {
        "type": "http",
        "scheme": "bearer",
        "description": "the token of `POST /admin/session`, on `/admin` only",
    },
}


def component(status: int) -> str:
    """Return the name of a problem response."""
    return _COMPONENTS.get(status, HTTPStatus(status).name)


def headers(*names: str) -> Schema:
    """Return references to headers."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def problem(status: int) -> Schema:
    """Return the response of a problem document."""
    description, detail, pointer, members = PROBLEMS[status]
    message = "found 'permit', one of 'allow' or 'deny' is needed" if status == 422 else detail
    errors = [] if pointer is None else [Problem(pointer, message)]
    example = ProblemError(HTTPStatus(status), detail, errors, members).document()
    content = {MEDIA_TYPE: {"schema": {"$ref": REF + "Problem"}, "example": example}}
    described: Schema = {"description": description, "content": content}
    return described | ({"headers": headers(name)} if (name := _PROBLEM_HEADERS.get(status)) else {})


def _shape(required: str, **properties: object) -> Schema:
    """Return the schema of an object with these members and no others."""
    needed = required.split()
    return {"type": "object", "properties": properties, "required": needed, "additionalProperties": False}


_NODE: Final = {"$ref": REF + "Condition"}
_TEXT: Final = {"type": "string"}
CONDITION: Final = {
    "description": "A condition tree: at most 32 levels and 1,000 nodes",
    "oneOf": [
        _shape(
            "type conditions",
            type={"type": "string", "enum": ["AND", "OR"]},
            conditions={"type": "array", "items": _NODE, "minItems": 1},
        ),
        _shape("type condition", type={"type": "string", "const": "NOT"}, condition=_NODE),
        _shape("type", type={"type": "string", "const": "ALWAYS"}),
        _shape(
            "type attribute operator value",
            type={"type": "string", "const": "CONDITION"},
            attribute={"type": "string", "examples": ["user.department", "resource.owner", "env.hour"]},
            operator={"type": "string", "enum": sorted(OPERATORS)},
            value={"description": "a literal, a list of literals, or `{attribute: name}`"},
        ),
    ],
}
_ERROR: Final = {
    "type": "object",
    "properties": {
        "pointer": _TEXT | {"description": "JSON pointer into the body"},
        "parameter": _TEXT | {"description": "or the query parameter or header"},
        "line": {"type": "integer", "description": "or the line of the body, from 1"},
        "message": _TEXT,
    },
    "required": ["message"],
}
PROBLEM: Final = {
    "type": "object",
    "description": "RFC 9457 problem details; every problem of the request in `errors`",
    "properties": {
        "type": {"type": "string", "format": "uri-reference"},
        "title": _TEXT,
        "status": {"type": "integer"},
        "detail": _TEXT,
        "reason": _TEXT | {"description": "of a refused credential or question, or of a database failure"},
        "outcome": {"const": "unknown", "description": "it is not known whether the change was stored"},
        "ids": {"type": "array", "items": _TEXT, "description": "the conflicting rows"},
        "errors": {"type": "array", "items": _ERROR},
    },
    "required": ["type", "title", "status"],
}


def _health(
    name: str, summary: str, media_type: str, schema: Schema, **answers: tuple[str, object]
) -> Schema:
    responses = {
        status.removeprefix("on_"): {
            "description": text,
            "content": {media_type: {"schema": schema, "example": example}},
        }
        for status, (text, example) in answers.items()
    }
    described = {"operationId": name, "tags": ["Health"], "summary": summary, "security": []}
    return {"get": described | {"responses": responses}}


_STATUS: Final = {
    "type": "object",
    "properties": {"status": {"enum": ["ok", "degraded"]}, "checks": {"type": "object"}},
    "required": ["status"],
}
_OK: Final = {"status": "ok"}
_READY: Final = ("Ready", {"status": "ok", "checks": {"database": "ok"}})
_NOT_READY: Final = ("Not ready", {"status": "degraded", "checks": {"database": "unavailable"}})
HEALTH: Final = {
    "/healthz/live": _health("live", "Whether the process answers", JSON, _STATUS, on_200=("It does", _OK)),
    "/healthz/ready": _health(
        "ready", "Whether the process takes requests", JSON, _STATUS, on_200=_READY, on_503=_NOT_READY
    ),
    "/metrics": _health(
        "metrics",
        "Counters for Prometheus; restrict it by network",
        "text/plain",
        _TEXT,
        on_200=("Prometheus text", "extauthz_ready 1\n"),
    ),
}
