"""Pydantic models of requests: strict, without unknown members, every problem with its JSON pointer.

A body is read by `request_body` and validated here with `validate_python`: `model_validate_json` would accept
duplicate members and NaN, and round numbers. Strict are str, int and bool; Pydantic's strict mode of a whole
model would refuse enumerations and lists. A check across members is a validator of the last member that it
needs, so that it runs although another member has an error. Errors: `ProblemError` 422 with every problem.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Generic, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    Strict,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema

from extauthz.admin.problems import ParameterProblem, invalid
from extauthz.compile.fields import shown
from extauthz.compile.warnings import WarningCode
from extauthz.domain.names import name_problem
from extauthz.domain.policy import WILDCARD
from extauthz.domain.problem import Problem, pointer_token

_Body = TypeVar("_Body")
_Item = TypeVar("_Item")
EXAMPLE_ID: Final = "01900000-0000-7000-8000-000000000001"
EXAMPLE_TIME: Final = "2026-01-31T08:00:00Z"


def refused(message: str) -> PydanticCustomError:
    """Return the error for the value that a validator looks at."""
    return PydanticCustomError("problems", "problems", {"problems": [Problem("", message)]})


def refused_at(problems: Sequence[Problem], *, up: int = 0) -> PydanticCustomError:
    """Return the error for places below the value, or below what holds it (`up` levels above)."""
    return PydanticCustomError("problems", "problems", {"problems": list(problems), "up": up})


def _canonical(name: str) -> str:
    if problem := name_problem(name):
        raise refused(f"found {shown(name)}, {problem}")
    return name


def _one(name: str) -> str:
    if name == WILDCARD:
        raise refused("found '*', one name is needed")
    return name


class _NotNull:
    """Marks a member that may be left out, and must not be null when it is there."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def refuse_null(value: object) -> object:
            if value is None:
                raise refused("found null; leave the member out instead")
            return value

        return core_schema.no_info_before_validator_function(refuse_null, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        described = handler(schema)
        choices = [each for each in described.get("anyOf", ()) if each != {"type": "null"}]
        return choices[0] if len(choices) == 1 else described


NOT_NULL: Final = _NotNull()
LEFT_OUT: Final = object()


def context_of(info: ValidationInfo) -> Any:
    """Return the `RequestContext` that a body is validated in."""
    return info.context


def about(description: str) -> Any:
    """Return the description of a member or a parameter."""
    return Field(description=description)


def computed(**options: Any) -> Any:
    """Return the field of a member whose validator computes the value where it is `LEFT_OUT`."""
    return Field(default_factory=lambda: LEFT_OUT, validate_default=True, **options)


Text = Annotated[str, Strict()]
Flag = Annotated[bool, Strict()]
Integer = Annotated[int, Strict()]
Name = Annotated[
    Text, AfterValidator(_canonical), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 256})
]
"""A canonical name: in NFC, without control or invisible characters or outer white space."""
OneName = Annotated[Name, AfterValidator(_one)]
"""A name that is not the wildcard."""
RowId = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]


def _flag(text: object) -> object:
    if text not in {"true", "false"} and not isinstance(text, bool):
        raise refused("must be true or false")
    return text


QueryFlag = Annotated[bool, BeforeValidator(_flag)]


def without_repeats(values: list[str]) -> list[str]:
    """Return the values in their order, each once."""
    return list(dict.fromkeys(values))


class Model(BaseModel):
    """A shape of the API; `example` is what the OpenAPI document shows of it."""

    model_config = ConfigDict(extra="forbid")
    example: ClassVar[Mapping[str, object]] = {}


class Document(Model):
    """A body. `shown` are the members that the API adds when it shows a row, and ignores in a PUT."""

    shown: ClassVar[tuple[str, ...]] = ("created_at", "updated_at", "warnings")


class Query(Model):
    """Query parameters. Each may be given once; `request_body.check_query` refuses any other."""


class DocumentWarningOut(Model):
    """What may surprise the author of a document."""

    code: Annotated[
        WarningCode,
        Field(
            description="`unreadable_row`: a stored row of the tenant, named by `kind` and `id`, is not in "
            "force as it is stored"
        ),
    ]
    pointer: Annotated[str, Field(description="JSON pointer into the document")]
    message: str
    kind: Annotated[str | None, NOT_NULL, Field(examples=["attribute_policy"])] = None
    id: Annotated[str | None, NOT_NULL] = None


class Warned(Model):
    """An answer to a write: rows of the tenant that cannot be read are named in it."""

    warnings: Annotated[
        list[DocumentWarningOut] | None,
        NOT_NULL,
        Field(description="what may surprise; in answers to writes also rows that cannot be read"),
    ] = None


class StoredRow(Warned):
    """What the server adds to a stored document."""

    example: ClassVar = {"id": EXAMPLE_ID, "created_at": EXAMPLE_TIME, "updated_at": EXAMPLE_TIME}
    id: Annotated[RowId, Field(description="UUIDv7, assigned by the server")]
    created_at: Time
    updated_at: Time


class Page(Model, Generic[_Item]):
    """A part of a list."""

    items: list[_Item]
    next_cursor: Annotated[str | None, Field(description="`cursor` of the next page; null at the end")]


def validate(
    adapter: TypeAdapter[_Body], document: object, context: object = None, problems: Sequence[Problem] = ()
) -> _Body:
    """Return the model of a document. `problems` were found before and are reported with those found here."""
    found = list(problems)
    try:
        body = adapter.validate_python(document, context=context)
    except ValidationError as error:
        known = {each.pointer for each in found}
        found += [each for each in problems_of(error) if each.pointer not in known]
    else:
        if not found:
            return body
    raise invalid(found)


def problems_of(error: ValidationError) -> list[Problem]:
    """Return the problems of a validation, each with its JSON pointer."""
    found: list[Problem] = []
    for each in error.errors(include_url=False):
        location = each["loc"]
        context = each.get("ctx", {})
        if each["type"] == "problems":
            place = _pointer(location[: len(location) - context.get("up", 0)])
            found += [problem.under(place) for problem in context["problems"]]
        else:
            found.append(Problem(_pointer(location), _message(each)))
    return found


def parameter_problems(errors: Sequence[Any]) -> list[ParameterProblem]:
    """Return the problems of query parameters that FastAPI found."""
    return [
        ParameterProblem(str(each["loc"][-1]), message)
        for each in errors
        for message in (
            [problem.message for problem in each["ctx"]["problems"]]
            if each["type"] == "problems"
            else [each["msg"] if each["type"] == "problem" else _message(each)]
        )
    ]


def _pointer(location: Sequence[int | str]) -> str:
    return "".join(f"/{pointer_token(str(token))}" for token in location)


_NEEDED: Final[Mapping[str, str]] = {
    "string_type": "a string is needed",
    "bool_type": "true or false is needed",
    "int_type": "an integer is needed",
    "list_type": "a list is needed",
    "dict_type": "an object is needed",
    "model_type": "an object is needed",
    "model_attributes_type": "an object is needed",
}


def _message(error: ErrorDetails) -> str:
    found, context = shown(error.get("input")), error.get("ctx", {})
    match error["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden" if error["loc"][-1] == "id":
            return "is assigned by the server; leave it out"
        case "extra_forbidden":
            return "is not a member here"
        case "enum" | "literal_error":
            return f"found {found}, one of {context['expected']} is needed"
        case "greater_than_equal":
            return f"found {found}, at least {context['ge']} is needed"
        case "less_than_equal":
            return f"found {found}, at most {context['le']} is needed"
        case "too_short":
            return f"has {context['actual_length']} entries, {context['min_length']} or more are needed"
        case "too_long":
            return f"has {context['actual_length']} entries, at most {context['max_length']} fit"
        case "string_too_short" | "string_too_long":
            return f"found {found}, {error['msg'].removeprefix('String should have ')} are needed"
        case kind:
            return f"found {found}, {_NEEDED.get(kind, error['msg'])}"


def replacing(document: object, row_id: object, shown: Sequence[str]) -> tuple[object, list[Problem]]:
    """Return the document of a PUT without the members that the API adds when it shows a row.

    So an object that was read can be changed and sent back. Its `id` must be the one of the path.
    """
    if not isinstance(document, Mapping):
        return document, []
    problems = []
    if document.get("id", str(row_id)) != str(row_id):
        problems.append(Problem("/id", "is not the id of the path"))
    dropped = {"id", *shown}
    return {name: value for name, value in document.items() if name not in dropped}, problems


class Patch:
    """A JSON merge patch (RFC 7396) of documents of one model."""

    def __init__(self, model: type[Document], members: Mapping[str, object]) -> None:
        self.members = members
        known = {"id", *model.shown, *model.model_fields}
        # The merge ignores them, and its result shows nothing of a misspelt name.
        self.problems = [
            Problem(f"/{pointer_token(name)}", "is not a member here")
            for name, value in members.items()
            if value is None and name not in known
        ]
        self._model = model

    def apply(
        self, before: Mapping[str, object], *, whole: Mapping[str, object] | None = None
    ) -> tuple[object, list[Problem]]:
        """Return the document that the patch makes of a stored one, and what is wrong with the patch.

        `whole` are members of the patch that replace the old ones instead of being merged.
        """
        whole = whole or {}
        document = {name: value for name, value in before.items() if name != "id"}
        patch = {name: value for name, value in self.members.items() if name not in whole}
        changed = merged(document, patch) | dict(whole)
        patched, problems = replacing(changed, before["id"], self._model.shown)
        return patched, [*self.problems, *problems]


def merged(target: Mapping[str, object], patch: Mapping[str, object]) -> dict[str, object]:
    """Apply a JSON merge patch (RFC 7396 2): objects are merged, null removes a member."""
    result = dict(target)
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        elif isinstance(value, Mapping):
            before = result.get(name)
            result[name] = merged(before if isinstance(before, Mapping) else {}, value)
        else:
            result[name] = value
    return result
