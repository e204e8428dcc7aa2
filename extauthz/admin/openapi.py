"""The OpenAPI 3.1 document: FastAPI's, completed with what our dependencies read and answer.

FastAPI describes paths, query models, answers and their schemas. Added here: bodies (`JsonBody`), headers of
conditional and creating requests, permissions and credentials, problem responses, examples of the models.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

from extauthz import __version__
from extauthz.admin import openapi_components as components
from extauthz.admin.documents import Page
from extauthz.admin.openapi_components import REF, Schema
from extauthz.admin.preconditions import IDEMPOTENCY_KEY
from extauthz.admin.request_body import JSON, PatchBody, TextBody

_PUBLIC: Final = {
    "AuditEventPage": "AuditPage",
    "DocumentWarningOut": "Warning",
    "RouteDocument": "Route",
    "TenantListedPage": "TenantPage",
}
"""Components whose public name is older than the name of their model."""
_COMPONENT_NAME: Final = str.maketrans("[]", "__")
"""How Pydantic names the component of `Page[RoleRuleOut]`."""
_REVISIONED: Final = ("X-Policy-Revision", "ETag")
_ALWAYS: Final = (400, 401, 403, 422, 429, 503)
_WITH_BODY: Final = (408, 413, 415)
_CONDITIONAL: Final = {
    "name": "If-Match",
    "in": "header",
    "description": "write only if the object is in this state",
    "schema": {"type": "string", "examples": ['"7"']},
}
_CREATING: Final = {
    "name": IDEMPOTENCY_KEY,
    "in": "header",
    "description": "a string in quotes that names the request: for 24 hours the same request with the same "
    "key gets the same answer, another request is 409. An answer with a secret is not kept: 409, too",
    "schema": {"type": "string", "examples": ['"8e03978e-40d5-43e8-bc93-6894a57f9324"']},
}
_IDS: Final = {
    "slug": {"pattern": "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$", "description": "the slug of the tenant"},
    "uuid": {"format": "uuid", "description": "the `id` of the object, in lower case"},
    "key": {
        "pattern": "^sak_[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$",
        "description": "the `id` of the key",
    },
}
_DESCRIPTION: Final = """\
Access policies of one tenant: resources, role rules, role bindings and attribute policies.

Callers send exactly one credential: `Authorization: Bearer` with a token of a registered issuer, a service
key in `X-Service-Api-Key`, or the operator's key in `X-Admin-Api-Key` (in `MODE=selfhost` also a tenant
admin, in `MODE=saas` for `/admin` only). Many invalid credentials from one address are slowed down.

Errors are RFC 9457 problem details with every problem of the request. Writes return `X-Policy-Revision`; pass
it as `min_revision` to a check.

A stored row that was damaged outside this API does not prevent other writes; the answers to writes name it in
`warnings` and in the header `X-Policy-Warnings`."""


def op(*answers: Schema | int, **options: Any) -> Schema:
    """Return the arguments of a route with these answers; a bare status is one of the problem documents."""
    responses: Schema = {}
    for each in answers:
        responses |= {each: {}} if isinstance(each, int) else each
    status = next(status for status in responses if status < 300)
    return {"status_code": status, "responses": responses, **options}


def answer(status: int, model: Any, *headers: str) -> Schema:
    """Return an answer with a body of a model (None: without a body) and headers."""
    one = get_args(model)[0] if get_args(model) else model
    text = (one.__doc__ or "").partition("\n")[0].rstrip(".") if one else "Done"
    described: Schema = {"description": f"A list: {text}" if one is not model else text}
    if model is not None:
        described["model"] = model
    if headers:
        described["headers"] = components.headers(*headers)
    return {status: described}


def created(model: Any) -> Schema:
    """Return the answer of a new row."""
    return answer(201, model, *_REVISIONED, "Location")


def written(status: int, model: Any) -> Schema:
    """Return the answer of a write that leaves a row or a list behind."""
    return answer(status, model, *_REVISIONED)


def found(model: Any) -> Schema:
    """Return the answer with one row."""
    return answer(200, model, "ETag")


def listed(model: Any) -> Schema:
    """Return the answer with a page of rows."""
    page: Any = Page[model]
    return {200: {"description": "A page of the list", "model": page}}


def deleted(*, revisioned: bool = True) -> Schema:
    """Return the answer of a deletion."""
    return answer(204, None, *(["X-Policy-Revision"] if revisioned else []))


def text_answer(media_type: str, example: str, description: str, *headers: str) -> Schema:
    """Return an answer of lines."""
    content = {media_type: {"schema": {"type": "string"}, "example": example}}
    return {200: {"description": description, "content": content, "headers": components.headers(*headers)}}


def document(routes: Sequence[Any]) -> Schema:
    """Return the whole document of our routes; plain JSON values."""
    described = get_openapi(
        title="extauthz",
        version=__version__,
        openapi_version="3.1.0",
        description=_DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=[{"url": "/"}],
        routes=routes,
        separate_input_output_schemas=False,
    )
    schemas: Schema = described["components"]["schemas"]
    models = {
        model.__name__.translate(_COMPONENT_NAME): model
        for route in routes
        for described_answer in route.responses.values()
        for model in _with_items(described_answer.get("model"))
    }
    for route in routes:
        (method,) = route.methods
        operation = described["paths"][route.path_format][method.lower()]
        _add_request(operation, route, schemas)
        _add_problems(operation, route)
        _add_examples(operation, models)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas |= {"Condition": components.CONDITION, "Problem": components.PROBLEM}
    for name, schema in schemas.items():
        _tidy(schema)
        if name in models and "created_at" in models[name].model_fields:
            members = models[name].model_fields.items()
            # An answer has every member, defaults too, but those whose default is to be left out.
            schema["required"] = [each for each, field in members if field.default is not None]
    described["components"] |= {
        "headers": {
            name: {"description": text, "schema": {"type": kind}}
            for name, (kind, text) in components.HEADERS.items()
        },
        "securitySchemes": dict(components.SECURITY),
        "responses": {
            components.component(status): components.problem(status) for status in components.PROBLEMS
        },
    }
    described["security"] = [{scheme: []} for scheme in ("token", "serviceKey", "adminKey")]
    described["paths"] |= components.HEALTH
    renamed: Schema = _renamed(described)
    return renamed


def _with_items(model: Any) -> list[Any]:
    """Return a model with the model of its items, when it is a page or a list."""
    if model is None:
        return []
    if get_args(model):
        return [get_args(model)[0]]
    return (
        [model, get_args(model.model_fields["items"].annotation)[0]] if issubclass(model, Page) else [model]
    )


def _add_request(operation: Schema, route: Any, schemas: Schema) -> None:
    """Add what the dependencies of a route read: permission, credentials, parameters, headers, body."""
    permission, body = route.requires.permission, route.reads_body
    operation["description"] = f"For {permission.value}. {operation.get('description', '')}".strip()
    if permission.of_operator:
        schemes = ("adminKey", "adminSession") if permission.name == "OPERATOR" else ("adminKey",)
        operation["security"] = [{scheme: []} for scheme in schemes]
    parameters = operation.get("parameters", [])
    for each in parameters:
        each["schema"] = _without_null(each["schema"])
        _tidy(each)
    for name in ("idp_id", "id"):
        if f"{{{name}}}" in route.path_format:
            kind = "slug" if name == "id" and permission.of_operator else "uuid"
            schema = {"type": "string"} | _IDS["key" if "service-api-keys" in route.path_format else kind]
            parameters.insert(0, {"name": name, "in": "path", "required": True, "schema": schema})
            parameters[0]["description"] = schema["description"]
    parameters += [_CONDITIONAL] if route.requires.conditional else []
    parameters += [_CREATING] if route.requires.creating else []
    operation["parameters"] = parameters
    if body is not None:
        operation["requestBody"] = {"required": body.required, "content": _body(body, schemas)}


def _body(body: Any, schemas: Schema) -> Schema:
    if isinstance(body, TextBody):
        return {body.media_types[0]: {"schema": {"type": "string"}, "example": body.example}}
    schema, model, example = body.adapter.json_schema(ref_template=REF + "{model}"), body.model, None
    schemas |= schema.pop("$defs", {})
    if isinstance(body, PatchBody):
        name, example = model.__name__.removesuffix("Document") + "Patch", model.patch_example
        members = {name: {**of, "default": None} for name, of in schema["properties"].items()}
        schema = {"type": "object", "properties": members, "additionalProperties": False}
        schema["description"] = "RFC 7396: what is left out stays, null puts a member back to its default"
        schemas[name], schema = schema, {"$ref": REF + name}
    elif isinstance(model, type) and issubclass(model, BaseModel):
        schemas[model.__name__], schema = schema, {"$ref": REF + model.__name__}
    schema = body.described_as(schema)
    return {media: {"schema": schema, "example": example or _example(model)} for media in body.media_types}


def _add_problems(operation: Schema, route: Any) -> None:
    """Add the problem documents that every operation, one with a body or a conditional one can answer."""
    responses = operation["responses"]
    statuses = {*_ALWAYS, *map(int, responses), *(_WITH_BODY if route.reads_body is not None else ())}
    statuses |= {412} if route.requires.conditional else set()
    statuses |= {409} if route.requires.creating else set()
    for status in sorted(statuses):
        described = responses.pop(str(status), {})
        if status == 204:
            described.pop("content", None)
        if status == 403 and "model" in route.responses.get(status, {}):
            described["content"] |= components.problem(status)["content"]
        elif status >= 400:
            described = {"$ref": f"#/components/responses/{components.component(status)}"}
        responses[str(status)] = described
        content = described.get("content", {})
        if len(content) > 1 and content.get(JSON, {}).get("schema") == {}:
            # FastAPI adds its default media type to the one that was declared.
            del content[JSON]


def _add_examples(operation: Schema, models: Mapping[str, Any]) -> None:
    """Add the examples of the models to the answers."""
    for status, response in operation["responses"].items():
        for content in response.get("content", {}).values():
            schema = content["schema"]
            name = schema.get("$ref", schema.get("items", {}).get("$ref", "")).rpartition("/")[2]
            if "example" not in content and name in models:
                example = _example(models[name])
                if status == "403":
                    example |= models[name].refused_example
                content["example"] = [example] if "items" in schema else example


def _example(model: Any) -> Any:
    """Return the example of a model, or of a list or a page of it: those of its bases together."""
    if get_args(model):
        return [_example(get_args(model)[0])]
    if issubclass(model, Page):
        return {"items": [_example(_with_items(model)[1])], "next_cursor": None}
    example: Schema = {}
    for base in reversed(model.__mro__):
        example |= vars(base).get("example", {})
    return example


def _tidy(node: Any) -> None:
    """Drop what Pydantic adds and says nothing: titles of members, defaults that are null."""
    if isinstance(node, dict):
        if isinstance(node.get("title"), str):
            del node["title"]
        if node.get("default", 0) is None:
            del node["default"]
        if "x-schema" in node:
            node["$ref"] = REF + node.pop("x-schema")
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _tidy(each)


def _without_null(schema: Schema) -> Schema:
    """Return the schema of a query parameter: one that is there has a value."""
    choices = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**choices[0], **rest} if choices else schema


def _renamed(node: Any) -> Any:
    """Return the document with the public names of answers: `RoleRule` for `RoleRuleOut`, `RoleRulePage`."""

    def public(name: str) -> str:
        if name.startswith("Page_"):
            name = name[len("Page_") : -1].removesuffix("Out") + "Page"
        return _PUBLIC.get(name, name.removesuffix("Out"))

    if isinstance(node, list):
        return [_renamed(each) for each in node]
    if isinstance(node, str) and node.startswith(REF):
        return REF + public(node.removeprefix(REF))
    if not isinstance(node, dict):
        return node
    if isinstance(node.get("schemas"), dict):
        node = node | {"schemas": {public(name): each for name, each in node["schemas"].items()}}
    return {name: _renamed(each) for name, each in node.items()}
