"""The document of a new service key (docs/reference/contract.md#rest)."""

from typing import TYPE_CHECKING, Final

from extauthz.admin.prefixes import RoutePrefix
from extauthz.compile.fields import Fields, shown
from extauthz.compile.values import parse_time
from extauthz.domain.policy import WILDCARD
from extauthz.domain.service_key import Scope
from extauthz.storage.rows import rfc3339

if TYPE_CHECKING:
    from extauthz.domain.problem import Problem
    from extauthz.storage.rows import Document

MAX_PREFIXES: Final = 100
_MAX_DESCRIPTION: Final = 1024
_WORDS: Final = frozenset(scope.value for scope in Scope)
_SCOPES: Final = ", ".join(repr(scope.value) for scope in Scope)


def read_key(document: object, problems: "list[Problem]", *, now: float) -> "Document | None":
    """Read a document, prefixes and expiry in their one spelling; None when any problem was noted."""
    before = len(problems)
    fields = Fields(document, "", problems)
    read: Document = {
        "name": fields.text("name"),
        "description": _description(fields),
        "scopes": _scopes(fields),
        "service_name": _name(fields, "service_name"),
        "prefixes": _prefixes(fields),
        "domain": _name(fields, "domain"),
        "expires_at": _expiry(fields, now),
    }
    fields.done()
    scopes = read["scopes"]
    assert isinstance(scopes, list)
    if Scope.RESOURCES_WRITE in scopes:
        for member in ("service_name", "prefixes"):
            if fields.is_object and not read[member] and not fields.get(member):
                fields.note(member, f"is needed by the scope {Scope.RESOURCES_WRITE.value!r}")
    return None if len(problems) > before else read


def _description(fields: Fields) -> str:
    value = fields.get("description")
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _MAX_DESCRIPTION:
        fields.note("description", f"a string of at most {_MAX_DESCRIPTION} characters is needed")
        return ""
    return value


def _name(fields: Fields, member: str) -> str | None:
    if fields.get(member) is None:
        return None
    name = fields.text(member)
    if name == WILDCARD:
        fields.note(member, "found '*', one name is needed; leave it out to name none")
    return name


def _scopes(fields: Fields) -> list[str]:
    found: list[str] = []
    for index, value in enumerate(fields.items("scopes", required=True, at_least=1)):
        if not isinstance(value, str) or value not in _WORDS:
            fields.note_item("scopes", index, f"found {shown(value)}, one of {_SCOPES} is needed")
        elif value not in found:
            found.append(value)
    return found


def _prefixes(fields: Fields) -> list[str]:
    if fields.get("prefixes") is None:
        return []
    entries = fields.items("prefixes", required=False)
    if len(entries) > MAX_PREFIXES:
        fields.note("prefixes", f"has {len(entries)} entries, at most {MAX_PREFIXES} fit")
        return []
    found: list[str] = []
    for index, value in enumerate(entries):
        prefix = RoutePrefix.parse(value) if isinstance(value, str) else "a string is needed"
        if isinstance(prefix, str):
            wanted = "such as 'api.example.com/invoices' or '/invoices'"
            fields.note_item("prefixes", index, f"found {shown(value)}, {prefix}; {wanted}")
        elif prefix.text not in found:
            found.append(prefix.text)
    return found


def _expiry(fields: Fields, now: float) -> str | None:
    value = fields.get("expires_at")
    if value is None:
        return None
    moment = parse_time(value) if isinstance(value, str) else None
    if moment is None:
        wanted = "an RFC 3339 time such as '2027-01-31T08:00:00Z'"
        fields.note("expires_at", f"found {shown(value)}, {wanted} is needed")
        return None
    if moment.timestamp() <= now:
        fields.note("expires_at", f"found {shown(value)}, which is over")
        return None
    return rfc3339(moment)
