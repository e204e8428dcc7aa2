"""The OpenAPI 3.1 document: FastAPI's, from the signatures and models of the operations, and `openapi.yaml`.

Added here: permissions, headers, problems and merge patches, which FastAPI does not see, and examples.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, get_args, get_origin

import yaml
from fastapi.openapi.utils import get_openapi
from pydantic_core import to_jsonable_python

from extauthz import __version__
from extauthz.compile.conditions.operators import OPERATORS
from extauthz.compile.conditions.readings import READINGS
from extauthz.rest.documents import BodyModel, Model, PageOut, Warned
from extauthz.rest.problems import MEDIA_TYPE, ProblemError

Schema = dict[Any, Any]
_SCHEMAS: Final = "#/components/schemas/"
_COMPONENT: Final = re.compile(r'(?<=["/])[A-Z][A-Za-z0-9_]+(?=")')
"""The name of a component, as a member or at the end of a reference, in JSON text."""
_COMPONENT_NAME: Final = str.maketrans("[]", "__")
"""How Pydantic names the component of `PageOut[RoleRuleOut]`."""
_OLDER_NAMES: Final[Mapping[str, str]] = {
    "AuditEventPage": "AuditPage",
    "DocumentWarning": "Warning",
    "RouteDocument": "Route",
    "TenantListedPage": "TenantPage",
    "TenantStatus": "Status",
}
"""Public names of components that are older than the names of their models."""
REVISIONED: Final = ("X-Policy-Revision", "ETag")
_ALWAYS: Final = (400, 401, 403, 422, 429, 503)
_WITH_BODY: Final = (408, 413, 415)
# Names that generators of clients use; CPython 3.13 renamed two statuses.
_STATUS_NAMES: Final = {413: "REQUEST_ENTITY_TOO_LARGE", 422: "UNPROCESSABLE_ENTITY"}


def _route(status: int, model: Any, *problems: int, headers: Sequence[str] = (), **options: Any) -> Schema:
    """Return the arguments of a route; FastAPI describes the answer by its model."""
    described = also(status, model, *headers)[status]
    described.pop("model", None)
    responses: Schema = {status: described, **{each: {} for each in problems}}
    for each, more in options.get("responses", {}).items():
        responses[each] = responses.get(each, {}) | more
    return {"status_code": status, "response_model": model, **options, "responses": responses}


def answer(model: Any, *headers: str, status: int = 200, **options: Any) -> Schema:
    """Return the arguments of a route that answers with a model."""
    return _route(status, model, headers=headers, **options)


def listed(model: Any, *headers: str) -> Schema:
    """Return the arguments of a route that answers with a page of rows."""
    responses = {200: {"description": "A page of the list"}}
    return _route(200, PageOut[model], headers=headers, responses=responses)


def found(model: Any) -> Schema:
    """Return the arguments of a route that answers with one row."""
    return _route(200, model, headers=("ETag",))


def created(model: Any, *problems: int, **options: Any) -> Schema:
    """Return the arguments of a route that creates a row; `problems` are further statuses (`_statuses`)."""
    return _route(201, model, *problems, headers=(*REVISIONED, "Location"), **options)


def written(model: Any, *problems: int, status: int = 200, **options: Any) -> Schema:
    """Return the arguments of a route that leaves a row or a list behind."""
    return _route(status, model, *problems, headers=REVISIONED, **options)


def deleted(*problems: int, revisioned: bool = True) -> Schema:
    """Return the arguments of a route that deletes."""
    return _route(204, None, *problems, headers=REVISIONED[: 1 if revisioned else 0])


def also(status: int, model: Any, *headers: str) -> Schema:
    """Return a further answer of a route, for its option `responses`."""
    one = get_args(model)[0] if get_args(model) else model
    text = "Done" if one is None else (one.__doc__ or "").partition("\n")[0].rstrip(".")
    described: Schema = {"description": text if one is model else f"A list: {text}"}
    if model is not None:
        described["model"] = model
    if headers:
        described["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
    return {status: described}


@cache
def _static() -> Schema:
    """Return the parts that are not generated. Operators and readings of conditions are those of the code."""
    parts: Schema = yaml.safe_load(Path(__file__).with_name("openapi.yaml").read_text("utf-8"))
    responses = parts["components"]["responses"]
    parts["components"]["responses"] = {
        _status_name(status): _problem_response(HTTPStatus(status), **responses[status])
        for status in responses
    }
    comparison = parts["components"]["schemas"]["Condition"]["oneOf"][-1]["properties"]
    comparison["operator"]["enum"] = sorted(OPERATORS)
    _, operand = comparison["attribute"]["oneOf"]
    for described in (comparison, operand["properties"]):
        described["as"]["enum"] = list(READINGS)
    return parts


def _status_name(status: int) -> str:
    return _STATUS_NAMES.get(status, HTTPStatus(status).name)


def _problem_response(
    status: HTTPStatus, *, description: str, example: Schema, header: str | None = None
) -> Schema:
    problem = ProblemError(status, example["detail"], members=example).document()
    content = {MEDIA_TYPE: {"schema": {"$ref": _SCHEMAS + "Problem"}, "example": problem}}
    headers = {} if header is None else {"headers": {header: {"$ref": f"#/components/headers/{header}"}}}
    return {"description": description, "content": content} | headers


def document(routes: Sequence[Any]) -> Schema:
    """Return the whole document of our routes; plain JSON values."""
    static = deepcopy(_static())
    described = get_openapi(
        title="extauthz",
        version=__version__,
        openapi_version="3.1.0",
        description=static["info"]["description"],
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        servers=[{"url": "/"}],
        routes=routes,
        separate_input_output_schemas=False,
    )
    schemas: Schema = described["components"]["schemas"]
    for route in routes:
        (method,) = route.methods
        _complete(described["paths"][route.path_format][method.lower()], route, schemas)
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    models = {each.__name__.translate(_COMPONENT_NAME): each for each in _models(Model)}
    for name, schema in schemas.items():
        _tidy(schema)
        if name in models and "created_at" in models[name].model_fields:
            members = models[name].model_fields.items()
            # An answer has every member, defaults too, but those whose default is to be left out.
            schema["required"] = [each for each, field in members if field.default is not None]
    _finish_bodies(described["paths"], models)
    for route in routes:
        if route.waits:
            (method,) = route.methods
            responses = described["paths"][route.path_format][method.lower()]["responses"]
            responses["202"] = _without_some(responses, models)
    described["security"] = static["security"]
    described["paths"] |= static["paths"]
    described["components"] |= static["components"] | {"schemas": schemas | static["components"]["schemas"]}
    del described["components"]["parameters"]
    renamed: Schema = json.loads(_COMPONENT.sub(_public_name, json.dumps(described)))
    return renamed


def _complete(operation: Schema, route: Any, schemas: Schema) -> None:
    """Add to an operation what FastAPI does not see: permission, credentials, headers, problems, patches."""
    permission = route.requires.permission
    operation["description"] = f"For {permission.value}. {operation['description']}"
    if permission.of_operator:
        schemes = ("adminKey", "adminSession") if permission.name == "OPERATOR" else ("adminKey",)
        operation["security"] = [{scheme: []} for scheme in schemes]
    _add_parameters(operation, route)
    _add_body(operation, route, schemas)
    responses = operation["responses"]
    for status in sorted(_statuses(route, responses) - route.never):
        described = responses.pop(str(status), {})
        name = _status_name(status)
        if status >= 400 and "content" in described and "model" in route.responses.get(status, {}):
            described["content"] |= _static()["components"]["responses"][name]["content"]
        elif status >= 400:
            described = {"$ref": f"#/components/responses/{name}"}
        responses[str(status)] = described


def _add_parameters(operation: Schema, route: Any) -> None:
    """Add the parameters of the path, those that `requires` reads, and those of waiting."""
    requires, known = route.requires, _static()["components"]["parameters"]
    parameters = operation["parameters"] = operation.get("parameters", [])
    for each in parameters:
        each["required"] = each["required"] and route.document_body is None
        each["schema"] = _without_null(each["schema"])
        _tidy(each)
    for name in ("replay_id", "idp_id", "key_id", "tenant", "id"):
        if f"{{{name}}}" in route.path_format:
            is_slug = name == "tenant" or (name == "id" and requires.permission.of_operator)
            kind = "key" if "-keys/" in route.path_format else "slug" if is_slug else "uuid"
            parameters.insert(0, {"name": name} | known[kind])
    read = {
        "draft": requires.in_drafts, "ifMatch": requires.conditional, "idempotencyKey": requires.creating,
        "wait": route.waits, "within": route.waits,
    }  # fmt: skip
    parameters += [known[name] for name, is_read in read.items() if is_read]


def _add_body(operation: Schema, route: Any, schemas: Schema) -> None:
    """Describe a merge patch, and a body that the handler reads itself; say whether a body is needed."""
    body = route.document_body
    if body is not None and body.is_patch:
        content = {"schema": {"$ref": _patch(body.model, schemas)}, "example": body.model.patch_example}
        operation["requestBody"] = {"required": True, "content": dict.fromkeys(body.media_types, content)}
    elif route.described_body is not None:
        operation["requestBody"] = {"required": True, "content": _lenient(route.described_body, schemas)}
    elif body is not None:
        operation["requestBody"]["required"] = body.required


def _statuses(route: Any, responses: Schema) -> set[int]:
    """Return every status of a route: those that it names, and those that its path and `requires` imply."""
    requires = route.requires
    implied = {
        404: "{" in route.path or requires.in_drafts,
        409: requires.creating or requires.in_drafts,
        412: requires.conditional,
    }
    with_body = () if route.document_body is None else _WITH_BODY
    return {*_ALWAYS, *map(int, responses), *with_body, *(status for status in implied if implied[status])}


def _without_some(responses: Schema, models: Mapping[str, Any]) -> Schema:
    """Return the answer of a write that some sidecars do not have yet, which it names."""
    done: Schema = next(each for status, each in sorted(responses.items()) if status.startswith("2"))
    body = done.get("content", {}).get("application/json", {})
    example = body.get("example", {})
    if isinstance(example, list):
        example = {"items": example}
    shown = {
        # No allOf: the schemas of rows permit no other members.
        "schema": {"$ref": _SCHEMAS + "MissingSidecars"},
        "example": example | {"missing": [_example(models["SidecarOut"])], "missing_count": 1},
    }
    return done | {
        "description": "Done, with `wait`: some live sidecars do not have it yet",
        "content": {"application/json": shown},
    }


def _lenient(model: type[Model], schemas: Schema) -> Schema:
    """Add the schemas of a body whose unknown members are ignored, and return its content."""
    schema = model.model_json_schema(ref_template=_SCHEMAS + "{model}")
    for name, each in {**schema.pop("$defs", {}), model.__name__: schema}.items():
        schemas[name] = {key: value for key, value in each.items() if key != "additionalProperties"}
    return {"application/json": {"schema": {"$ref": _SCHEMAS + model.__name__}, "example": _example(model)}}


def _patch(model: type[Model], schemas: Schema) -> str:
    """Add the schema of a merge patch of documents of a model, and return the reference to it."""
    name = model.__name__.removesuffix("Document") + "Patch"
    schema = model.model_json_schema(ref_template=_SCHEMAS + "{model}")
    schemas[name] = {
        "type": "object",
        "properties": {member: {**of, "default": None} for member, of in schema["properties"].items()},
        "additionalProperties": False,
        "description": "RFC 7396: what is left out stays, null puts a member back to its default",
    }
    return _SCHEMAS + name


def _finish_bodies(node: Any, models: Mapping[str, Any], *, refused: bool = False) -> None:
    """Tidy the schemas of the bodies below a node, and add the examples of their models."""
    if not isinstance(node, dict):
        return
    schema = node.get("schema")
    if not isinstance(schema, dict):
        for name, each in node.items():
            _finish_bodies(each, models, refused=refused or name == "403")
        return
    _tidy(schema)
    schema = node["schema"] = _without_null(schema)
    of_items = schema.get("items", schema)
    of_item = of_items.get("anyOf", [of_items])[0].get("$ref", "").removeprefix(_SCHEMAS)
    if "example" not in node and of_item in models:
        example = _example(models[of_item]) | (models[of_item].refused_example if refused else {})
        node["example"] = example if of_items is schema else [example]


def _models(model: Any) -> Iterator[Any]:
    """Yield all that extend a model."""
    for each in model.__subclasses__():
        yield each
        yield from _models(each)


def _example(model: Any) -> Any:
    """Return the example of a model: those of its members. An answer has the defaults of the others, too."""
    members = model.model_fields.items()
    if issubclass(model, BodyModel) and not issubclass(model, Warned):
        return {name: _member_example(field) for name, field in members if field.examples or _model_of(field)}
    return {
        name: _member_example(field) for name, field in members if field.examples or field.default is not None
    }


def _member_example(field: Any) -> Any:
    """Return the example of a member: its own, or that of its model, or its default."""
    if field.examples:
        return field.examples[0]
    if model := _model_of(field):
        return [_example(model)] if get_origin(field.annotation) is list else _example(model)
    return to_jsonable_python(None if field.is_required() else field.default)


def _model_of(field: Any) -> Any:
    """Return the model of a member that has to be there, or of the entries of its list; None: it has none."""
    is_list = get_origin(field.annotation) is list
    model = get_args(field.annotation)[0] if is_list else field.annotation
    is_model = isinstance(model, type) and issubclass(model, Model)
    return model if is_model and field.is_required() else None


def _tidy(node: Any) -> None:
    """Drop what says nothing: titles of members, defaults that are null, examples that bodies show."""
    if isinstance(node, dict):
        if isinstance(node.get("examples"), list):
            del node["examples"]
        if isinstance(node.get("title"), str):
            del node["title"]
        if node.get("default", 0) is None:
            del node["default"]
        for bound in {"minimum", "maximum"} & node.keys():
            # FastAPI writes them as floating-point numbers.
            node[bound] = int(node[bound])
        if "x-schema" in node:
            node["$ref"] = _SCHEMAS + node.pop("x-schema")
    for each in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        _tidy(each)


def _without_null(schema: Schema) -> Schema:
    """Return the schema of a parameter or body: one that is there has a value."""
    choices = schema.get("anyOf", [])
    if {"type": "null"} not in choices:
        return schema
    rest = {key: value for key, value in schema.items() if key != "anyOf"}
    return {**choices[0], **rest}


def _public_name(component: re.Match[str]) -> str:
    """Return the public name of a component: `RoleRule` for `RoleRuleOut`, `RoleRulePage` for its page."""
    name: str = component[0]
    if name.startswith("PageOut_"):
        name = name[len("PageOut_") : -1].removesuffix("Out") + "Page"
    name = name.removesuffix("Out")
    return _OLDER_NAMES.get(name, name)
