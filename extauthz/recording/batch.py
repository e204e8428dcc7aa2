"""Reads batches of shapes that sidecars send; every problem is named with its JSON pointer.

`recording.documents.BatchWriter` writes them. What is read here is as valid as what the recorder makes: a
sidecar's key lets it send counts, not break what reads them.
"""

import re
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

from extauthz.domain.principal import Authentication, PrincipalKind
from extauthz.domain.problem import Problem
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.strict_json import JsonRejected, read_json
from extauthz.domain.tenancy import UnmappedPolicy
from extauthz.domain.verdict import RuleKind
from extauthz.recording.bounds import KEPT_DENIES, MAX_BATCH_SHAPES
from extauthz.recording.documents import FIXED, Counted, hour_of, shape_of
from extauthz.recording.shape import (
    ADDRESS,
    CLAIMS,
    HEADERS,
    HOST,
    MAX_LITERAL,
    METHOD,
    PEER,
    QUERY,
    REMAINDER,
    SUBJECT,
    WORDS,
    CredentialState,
    Shape,
    parameter_slot,
    template_of,
)
from extauthz.recording.shape import (
    PATH as WHOLE_PATH,
)

PATH: Final = "/sidecar-recordings"
"""Where batches are posted."""
_MAX_NAME: Final = 512
_MAX_TEMPLATE: Final = 8192
_MAX_ROLES: Final = 10_000
_MAX_SLOTS: Final = 500
_MAX_COUNT: Final = 2**48
_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SLUG: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_PLAIN: Final = re.compile(r'"[^"\\\x00-\x1f\ud800-\udfff]*"')


class ShapeBatch(NamedTuple):
    """A batch that can be counted."""

    instance: str
    number: int
    counted: tuple[Counted, ...]


class _InvalidError(ValueError):
    """Carries a problem out of the readers; never leaves this module."""

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(pointer, message)


def read_batch(document: object) -> ShapeBatch | list[Problem]:
    """Read a batch; the answer is the first problem where it is not one."""
    try:
        members = _object(document, "")
        instance = _matching(_UUID, members.get("instance"), "/instance", "a UUID")
        number = _number(members.get("number"), "/number", lowest=1)
        contexts = [
            _context(each, f"/contexts/{at}")
            for at, each in enumerate(_list(members.get("contexts"), "/contexts", MAX_BATCH_SHAPES))
        ]
        counted = tuple(
            _counted(each, f"/shapes/{at}", contexts)
            for at, each in enumerate(_list(members.get("shapes"), "/shapes", MAX_BATCH_SHAPES))
        )
    except _InvalidError as error:
        return [error.problem]
    return ShapeBatch(instance, number, counted)


def _context(value: object, at: str) -> dict[str, Any]:
    given = _object(value, at)
    context: dict[str, Any] = {
        "tenant": _matching(_SLUG, given.get("tenant"), f"{at}/tenant", "the slug of a tenant"),
        "entrance": _one_of(("grpc", "http"), given.get("entrance"), f"{at}/entrance"),
        "unmapped": _member(UnmappedPolicy, given.get("unmapped"), f"{at}/unmapped"),
        "credential": _member(CredentialState, given.get("credential"), f"{at}/credential"),
        "kind": _optional(given.get("kind"), lambda kind: _member(PrincipalKind, kind, f"{at}/kind")),
        "authentication": _optional(
            given.get("authentication"), lambda way: _member(Authentication, way, f"{at}/authentication")
        ),
        "bound": _flag(given.get("bound"), f"{at}/bound"),
        "own_roles": [
            _text(role, f"{at}/own_roles/{number}")
            for number, role in enumerate(_list(given.get("own_roles"), f"{at}/own_roles", _MAX_ROLES))
        ],
        "effect": _member(Effect, given.get("effect"), f"{at}/effect"),
        "reason": _one_of([each.value for each in Reason], given.get("reason"), f"{at}/reason"),
        "rule": _optional(given.get("rule"), lambda rule: _rule(rule, f"{at}/rule")),
        "template": _optional(given.get("template"), lambda text: _template(text, f"{at}/template")),
    }
    for name in ("token_tenant", "domain", "resource", "action"):
        context[name] = None if given.get(name) is None else _text(given[name], f"{at}/{name}")
    is_verified = context["credential"] == CredentialState.VERIFIED
    if is_verified != (context["kind"] is not None and context["authentication"] is not None):
        raise _InvalidError(f"{at}/kind", "only a verified credential has a kind and an authentication")
    context["fixed"] = {
        _one_of(sorted(FIXED), name, f"{at}/fixed"): _slot(text, f"{at}/fixed/{name}")
        for name, text in _object(given.get("fixed"), f"{at}/fixed").items()
    }
    context["slots"] = _slots(given.get("slots"), context["template"], f"{at}/slots")
    if missing := {HOST, METHOD, PEER} - context["fixed"].keys():
        raise _InvalidError(f"{at}/fixed", f"lacks {min(missing)}")
    return context


def _slots(value: object, template: str | None, at: str) -> list[str]:
    names = [_text(each, f"{at}/{number}") for number, each in enumerate(_list(value, at, _MAX_SLOTS))]
    parsed = None if template is None else template_of(template)
    path = [WHOLE_PATH] if parsed is None else [parameter_slot(name) for name in parsed.names]
    if parsed is not None and parsed.covers_below:
        path.append(REMAINDER)
    if missing := {SUBJECT, *path} - {*names}:
        raise _InvalidError(at, f"lacks {min(missing)}")
    for number, name in enumerate(names):
        is_attribute = name == ADDRESS or name.startswith((CLAIMS, HEADERS, QUERY))
        if not is_attribute and name not in path:
            raise _InvalidError(f"{at}/{number}", "is neither a part of the path nor an attribute")
    if names != sorted(set(names)):
        raise _InvalidError(at, "is not sorted, or has a name twice")
    return names


def _counted(value: object, at: str, contexts: list[dict[str, Any]]) -> Counted:
    given = _object(value, at)
    position = _number(given.get("context"), f"{at}/context", highest=len(contexts) - 1)
    context = contexts[position]
    texts = [
        _slot(text, f"{at}/slots/{number}")
        for number, text in enumerate(_list(given.get("slots"), f"{at}/slots", _MAX_SLOTS))
    ]
    if len(texts) != len(context["slots"]):
        raise _InvalidError(f"{at}/slots", f"has {len(texts)} texts for {len(context['slots'])} slots")
    shape: Shape = shape_of(context, texts)
    first = _number(given.get("first_revision"), f"{at}/first_revision")
    return Counted(
        shape=shape,
        hour=_hour(given.get("hour"), f"{at}/hour"),
        requests=_number(given.get("requests"), f"{at}/requests", lowest=1),
        first=first,
        last=_number(given.get("last_revision"), f"{at}/last_revision", lowest=first),
        decisions=tuple(
            _decision(each, f"{at}/decisions/{number}")
            for number, each in enumerate(_list(given.get("decisions"), f"{at}/decisions", KEPT_DENIES))
        ),
    )


def _decision(value: object, at: str) -> tuple[str, int]:
    given = _object(value, at)
    return (
        _matching(_UUID, given.get("id"), f"{at}/id", "a UUID"),
        _number(given.get("revision"), f"{at}/revision"),
    )


def _hour(value: object, at: str) -> int:
    try:
        return hour_of(value if isinstance(value, str) else "")
    except (ValueError, OverflowError):
        raise _InvalidError(at, "must be an hour such as 2026-01-31T08 (UTC)") from None


def _slot(value: object, at: str) -> str:
    if isinstance(value, str) and len(value) <= MAX_LITERAL:
        if value in WORDS or _PLAIN.fullmatch(value):
            return value
        octets = value.encode("utf-8", "surrogatepass")
        # One line, as the texts of slots are stored.
        if b"\n" not in octets and not isinstance(read_json(octets), JsonRejected):
            return value
    words = ", ".join(sorted(WORDS))
    raise _InvalidError(at, f"must be a JSON text of at most {MAX_LITERAL} characters, or one of {words}")


def _rule(value: object, at: str) -> dict[str, str]:
    given = _object(value, at)
    return {
        "id": _text(given.get("id"), f"{at}/id"),
        "kind": _member(RuleKind, given.get("kind"), f"{at}/kind"),
    }


def _template(value: object, at: str) -> str:
    if isinstance(value, str) and len(value) <= _MAX_TEMPLATE:
        parsed = template_of(value)
        if parsed is not None and parsed.text == value:
            return value
    raise _InvalidError(at, "must be a path template in canonical form")


def _object(value: object, at: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise _InvalidError(at, "must be an object")
    return value


def _list(value: object, at: str, longest: int) -> list[object]:
    if not isinstance(value, list) or len(value) > longest:
        raise _InvalidError(at, f"must be a list of at most {longest} entries")
    return value


def _text(value: object, at: str) -> str:
    if not isinstance(value, str) or len(value) > _MAX_NAME or not value.isprintable():
        raise _InvalidError(at, f"must be a printable text of at most {_MAX_NAME} characters")
    return value


def _matching(pattern: re.Pattern[str], value: object, at: str, what: str) -> str:
    if not isinstance(value, str) or pattern.fullmatch(value) is None:
        raise _InvalidError(at, f"must be {what}")
    return value


def _number(value: object, at: str, *, lowest: int = 0, highest: int = _MAX_COUNT) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise _InvalidError(at, f"must be an integer from {lowest} to {highest}")
    return value


def _flag(value: object, at: str) -> bool:
    if not isinstance(value, bool):
        raise _InvalidError(at, "must be true or false")
    return value


def _one_of(values: Any, value: object, at: str) -> str:
    if not isinstance(value, str) or value not in values:
        raise _InvalidError(at, f"must be one of {', '.join(values)}")
    return value


def _member(kind: type[Enum], value: object, at: str) -> str:
    return _one_of([str(each.value) for each in kind], value, at)


def _optional(value: object, read: Callable[[object], Any]) -> Any:
    return None if value is None else read(value)
