"""Pydantic models of requests: strict, without unknown members, every problem with its JSON pointer.

A body is read by `request_body` and validated here with `validate_python`: `model_validate_json` would accept
duplicate members and NaN, and round numbers. Strict are str, int and bool; Pydantic's strict mode of a whole
model would refuse enumerations and lists. A check across members is a validator of the last member that it
needs, so that it runs although another member has an error. Errors: `ProblemError` 422 with every problem.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Generic, Self, TypeVar, cast

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ModelWrapValidatorHandler,
    PrivateAttr,
    Strict,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, ErrorDetails, PydanticCustomError, core_schema

from extauthz.compile.documents.policy_documents import Reading
from extauthz.compile.documents.warnings import DocumentWarning, WarningCode
from extauthz.compile.fields import shown
from extauthz.compile.roles.inheritance import CYCLE
from extauthz.domain.names import name_problem
from extauthz.domain.policy import WILDCARD
from extauthz.domain.problem import Problem, pointer_token
from extauthz.rest.problems import conflict, invalid
from extauthz.storage.rows import Document

_Body = TypeVar("_Body")
_Entity = TypeVar("_Entity")
_Item = TypeVar("_Item")
_Value = TypeVar("_Value")
EXAMPLE_ID: Final = "01900000-0000-7000-8000-000000000001"
EXAMPLE_TIME: Final = "2026-01-31T08:00:00Z"


def refused(message: str) -> PydanticCustomError:
    """Return the error for the value that a validator looks at."""
    return refused_at([Problem("", message)])


def refused_at(problems: Sequence[Problem]) -> PydanticCustomError:
    """Return the error for places below the value that a validator looks at."""
    return PydanticCustomError("problems", "problems", {"problems": list(problems)})


def checked(problem_of: Callable[[Any], str | None]) -> AfterValidator:
    """Return the validator that refuses a value with a problem."""

    def check(value: Any) -> Any:
        if problem := problem_of(value):
            raise refused(problem)
        return value

    return AfterValidator(check)


def _not_canonical(name: str) -> str | None:
    problem = name_problem(name)
    return problem and f"found {shown(name)}, {problem}"


def _wildcard(name: str) -> str | None:
    return "found '*', one name is needed" if name == WILDCARD else None


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


Omissible = Annotated[_Value | None, _NotNull()]
"""A member that may be left out, which is None then, but cannot be given as null."""


def context_of(info: ValidationInfo) -> Any:
    """Return the `RequestContext` that a body is validated in."""
    return info.context


def about(description: str, *example: object, **options: Any) -> Any:
    """Return the field of a member or a parameter: its description, and its examples in the OpenAPI document.

    `options` are those of `pydantic.Field`; without a `default` the member is required.
    """
    return Field(description=description, examples=list(example) or None, **options)


def example(*values: object, **options: Any) -> Any:
    """Return the field of a member without a description; the first value stands in examples."""
    return Field(examples=list(values), **options)


def optional(description: str, *example: object, **options: Any) -> Any:
    """Return the field of a member that may be left out, and is None then."""
    return about(description, *example, default=None, **options)


def computed(description: str, *example: object) -> Any:
    """Return the field of a member whose default depends on other members, or on the caller."""
    return about(description, *example, default_factory=lambda: None)


Text = Annotated[str, Strict()]
Flag = Annotated[bool, Strict()]
Integer = Annotated[int, Strict()]
NonNegative = Annotated[Integer, Field(ge=0)]
"""An integer, 0 or more."""
Positive = Annotated[Integer, Field(ge=1)]
"""An integer, 1 or more."""
Name = Annotated[
    Text, checked(_not_canonical), WithJsonSchema({"type": "string", "minLength": 1, "maxLength": 256})
]
"""A canonical name: in NFC, without control or invisible characters or outer white space."""
OneName = Annotated[Name, checked(_wildcard)]
"""A name that is not the wildcard."""
RowId = Annotated[
    str,
    WithJsonSchema({"type": "string", "format": "uuid"}),
    about("UUIDv7, assigned by the server", EXAMPLE_ID),
]
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"}), example(EXAMPLE_TIME)]
OptionalTime = Annotated[str | None, WithJsonSchema({"type": ["string", "null"], "format": "date-time"})]


def _flag(text: object) -> object:
    if text not in {"true", "false"} and not isinstance(text, bool):
        raise refused("must be true or false")
    return text


QueryFlag = Annotated[bool, BeforeValidator(_flag)]


def without_repeats(values: list[str]) -> list[str]:
    """Return the values in their order, each once."""
    return list(dict.fromkeys(values))


class Model(BaseModel):
    """A shape of the API. Its example in the OpenAPI document is made of those of its members (`about`)."""

    model_config = ConfigDict(extra="forbid")


class BodyModel(Model):
    """A body. `shown` are the members that the API adds when it shows a row, and ignores in a PUT."""

    shown: ClassVar[tuple[str, ...]] = ("created_at", "updated_at", "warnings")

    @classmethod
    def problems_in(cls, _document: Mapping[str, object], _ctx: Any) -> list[Problem]:
        """Return problems of the whole document that are reported whatever else is wrong with it."""
        return []


class RowDocument(BodyModel):
    """A body that becomes a row. Conditions that read the body of requests are at `conditions_at` in it."""

    conditions_at: ClassVar[str] = "/rule_data"

    @abstractmethod
    def to_document(self, row_id: str) -> Document:
        """Return the document to store."""

    def document_warnings(self) -> Sequence[DocumentWarning]:
        """Return what may surprise the author, with pointers into the author's document."""
        return ()

    @property
    def reads_body(self) -> bool:
        """Whether a condition reads the body of requests, which proxies have to send."""
        return False


class PolicyDocument(RowDocument, Generic[_Entity]):
    """A body in the form of policy files. `reader`, that of the files, checks it; its members describe it.

    `written` is the document, and `entity` what it means, without an id of its own.
    """

    reader: ClassVar[Callable[[object, str, list[Problem], Reading], Any]]
    _written: Mapping[str, object] = PrivateAttr()
    _entity: Any = PrivateAttr()

    @model_validator(mode="wrap")
    @classmethod
    def _read(cls, document: Any, _: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Self:
        problems: list[Problem] = []
        entity = cls.reader(document, "", problems, context_of(info).reading)
        if problems:
            raise refused_at(problems)
        body = cls.model_construct(set(document), **document)
        body._written, body._entity = document, entity
        return body

    @property
    def written(self) -> Mapping[str, object]:
        """The document as its author wrote it."""
        return self._written

    @property
    def entity(self) -> _Entity:
        """The role rule, role binding, attribute policy or resource."""
        return cast("_Entity", self._entity)


class QueryModel(Model):
    """Query parameters. Each may be given once; `request_body.read_query` refuses any other."""


class DocumentWarningOut(Model):
    """What may surprise the author of a document."""

    code: WarningCode = about(
        "`unreadable_row`: a stored row of the tenant, named by `kind` and `id`, is not in force as it is "
        "stored"
    )
    pointer: str = about("JSON pointer into the document")
    message: str
    kind: Omissible[str] = example("attribute_policy", default=None)
    id: Omissible[str] = None


class Warned(Model):
    """An answer to a write: rows of the tenant that cannot be read are named in it."""

    warnings: Omissible[list[DocumentWarningOut]] = optional(
        "what may surprise; in answers to writes also rows that cannot be read"
    )


class StoredRow(Warned):
    """What the server adds to a stored document."""

    id: RowId
    created_at: Time
    updated_at: Time


class PageOut(Model, Generic[_Item]):
    """A part of a list."""

    items: list[_Item]
    next_cursor: str | None = about("`cursor` of the next page; null at the end")


def validate(
    check: Callable[..., _Body],
    document: object,
    context: object = None,
    problems: Sequence[Problem] = (),
) -> _Body:
    """Return the model of a document. `problems` were found before and are reported with those found here.

    `check` is `validate_python` of an adapter, or `model_validate` of a model.
    Errors: 422 with every problem; 409 where the only problem is that a role inherits from itself.
    """
    found = list(problems)
    try:
        body = check(document, context=context)
    except ValidationError as error:
        known = {each.pointer for each in found}
        found += [each for each in problems_of(error) if each.pointer not in known]
        if len(found) == 1 and found[0].message.startswith(CYCLE):
            raise conflict("the write contradicts itself", (), found) from None
    else:
        if not found:
            return body
    raise invalid(found)


def problems_of(error: ValidationError) -> list[Problem]:
    """Return the problems of a validation, each with its JSON pointer."""
    found: list[Problem] = []
    for each in error.errors(include_url=False):
        place = "".join(f"/{pointer_token(str(token))}" for token in each["loc"])
        if each["type"] == "problems":
            found += [problem.under(place) for problem in each["ctx"]["problems"]]
        else:
            found.append(Problem(place, _message(each)))
    return found


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


def replacing(document: object, row_id: object, added: Sequence[str]) -> tuple[object, list[Problem]]:
    """Return the document of a PUT without the members that the API adds when it shows a row.

    So an object that was read can be changed and sent back. Its `id` must be the one of the path.
    """
    if not isinstance(document, Mapping):
        return document, []
    problems = []
    if document.get("id", str(row_id)) != str(row_id):
        problems.append(Problem("/id", "is not the id of the path"))
    dropped = {"id", *added}
    return {name: value for name, value in document.items() if name not in dropped}, problems


class Patch:
    """A JSON merge patch (RFC 7396) of documents of one model."""

    def __init__(self, model: type[BodyModel], members: Mapping[str, object]) -> None:
        self.members = members
        self._model = model

    def apply(
        self, before: Mapping[str, object], *, whole: frozenset[str] = frozenset()
    ) -> tuple[object, list[Problem]]:
        """Return the document that the patch makes of a stored one, and what is wrong with the patch.

        `whole` are members of the patch that replace the old ones instead of being merged.
        """
        document = {name: value for name, value in before.items() if name != "id" and name not in whole}
        changed, problems = replacing(merged(document, self.members), before["id"], self._model.shown)
        known = {"id", *self._model.shown, *self._model.model_fields}
        # The merge ignores them, and its result shows nothing of a misspelt name.
        unknown = [name for name, value in self.members.items() if value is None and name not in known]
        problems += [Problem(f"/{pointer_token(name)}", "is not a member here") for name in unknown]
        return changed, problems


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
