"""The content types of bodies that conditions read."""

from enum import Enum, auto
from functools import lru_cache
from typing import Final

_FORM: Final = b"application/x-www-form-urlencoded"
_JSON: Final = b"application/json"
_JSON_SUFFIX: Final = b"+json"
# RFC 9110 5.6.2, in lower case.
_TOKEN: Final = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
_CHARSET: Final = b"charset"
_UTF8: Final = frozenset((b"utf-8", b'"utf-8"'))


class BodyForm(Enum):
    """The form of a body."""

    JSON = auto()
    FORM = auto()


@lru_cache(maxsize=256)
def body_form(content_type: bytes) -> BodyForm | None:
    """Return the form that a Content-Type (RFC 9110 8.3) names; None for others, or without UTF-8."""
    # A quoted string may hold a semicolon; what is cut there is no parameter, and the type is foreign.
    media_type, *parameters = (part.strip(b" \t").lower() for part in content_type.split(b";"))
    kind, _, subtype = media_type.partition(b"/")
    if not (_is_token(kind) and _is_token(subtype) and all(map(_fits, parameters))):
        return None
    if sum(parameter.startswith(_CHARSET) for parameter in parameters) > 1:
        return None
    if media_type == _FORM:
        return BodyForm.FORM
    return BodyForm.JSON if media_type == _JSON or subtype.endswith(_JSON_SUFFIX) else None


def _fits(parameter: bytes) -> bool:
    name, _, value = parameter.partition(b"=")
    if name.startswith(_CHARSET):
        # `charset*` is the same parameter in another notation (RFC 8187).
        return name == _CHARSET and value in _UTF8
    quoted = len(value) > 2 and value[:1] == value[-1:] == b'"'
    return _is_token(name) and _is_token(value[1:-1] if quoted else value)


def _is_token(octets: bytes) -> bool:
    return bool(octets) and _TOKEN.issuperset(octets)
