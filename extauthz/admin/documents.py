"""Request bodies as documents of docs/reference/policy-language.md, without what the server assigns."""

from collections.abc import Iterable, Mapping
from uuid import UUID

from extauthz.admin.operation import Call
from extauthz.admin.schemas import SCHEMAS
from extauthz.compile.documents import Reading
from extauthz.domain.policy import MAX_ALLOW_PRIORITY
from extauthz.domain.problem import Problem, pointer_token


def new_document(call: Call, problems: list[Problem], *, pointer: str = "") -> object:
    """Return the body of a create; ids are made here, so a body that names one is a misunderstanding."""
    assert call.body is not None
    document = call.body.document
    refuse_id(document, problems, pointer=pointer)
    return document


def refuse_id(document: object, problems: list[Problem], *, pointer: str = "") -> None:
    """Note an `id` in a document that has none yet."""
    if isinstance(document, Mapping) and "id" in document:
        problems.append(Problem(f"{pointer}/id", "is assigned by the server; leave it out"))


def replacing_document(
    document: object, row_id: UUID, problems: list[Problem], *, shown: Iterable[str]
) -> object:
    """Return the document of a PUT without what the API itself adds to it when it is read.

    So an object that was read can be changed and sent back. Its `id` must be the one of the path.
    """
    if not isinstance(document, Mapping):
        return document
    if document.get("id", str(row_id)) != str(row_id):
        problems.append(Problem("/id", "is not the id of the path"))
    taken_off = {"id", *shown}
    return {name: value for name, value in document.items() if name not in taken_off}


def merged(target: Mapping[str, object], patch: Mapping[str, object]) -> dict[str, object]:
    """Apply a JSON merge patch (RFC 7396 2): objects are merged, null takes a member away."""
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


def refuse_unknown_removals(
    patch: Mapping[str, object], schema: str, problems: list[Problem], *, shown: Iterable[str]
) -> None:
    """Note the members that a patch takes away and no object of this schema has.

    The merge does not mind them, and what comes out shows nothing of a misspelt name.
    """
    members = SCHEMAS[schema]["properties"]
    assert isinstance(members, Mapping)
    known = {"id", *shown, *members}
    for name, value in patch.items():
        if value is None and name not in known:
            message = f"is not a member here; known are {', '.join(sorted(members))}"
            problems.append(Problem(f"/{pointer_token(name)}", message))


def reading(call: Call, row_id: str) -> Reading:
    """Return what the caller's documents are read under: its rights bound domains and priorities."""
    caller = call.caller
    return Reading(
        condition_headers=call.services.condition_headers,
        default_domain=caller.only_domain,
        assigned_id=row_id,
        highest_allow=MAX_ALLOW_PRIORITY if caller.is_tenant_admin else 0,
        guardrails=caller.is_tenant_admin,
    )
