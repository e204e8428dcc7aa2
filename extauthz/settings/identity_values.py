"""What settings about the identity provider can be; see `extauthz.domain.provider_settings`."""

from collections.abc import Callable
from typing import Final

from extauthz.domain.names import name_problem
from extauthz.domain.provider_settings import (
    audience_problem,
    claim_path_problem,
    excluded_role_problem,
    issuer_problem,
    jwks_uri_problem,
)
from extauthz.settings.values import InvalidValueError, names, text, url

_ANY: Final = "any"
_NOT_A_LIST: Final = "names separated by commas, without brackets and quotes"


def claim_path(value: str) -> str:
    """Read where tokens carry something."""
    return _judged(text(value).strip(), claim_path_problem)


def issuer(value: str) -> str:
    """Read the issuer of tokens."""
    return _judged(url(value), issuer_problem)


def jwks_uri(value: str) -> str:
    """Read the address of a key set."""
    return _judged(url(value), jwks_uri_problem)


def audiences(value: str) -> tuple[str, ...] | None:
    """Read the audience of tokens, or several; `any` is None: every audience will do."""
    found = names(value)
    if not found or (_ANY in found and len(found) > 1) or not value.isprintable():
        raise InvalidValueError("the audience that tokens are issued for, or 'any' by itself")
    _refuse_json(value)
    for name in found:
        _judged(name, audience_problem)
        if " " in name:
            raise InvalidValueError("an audience without white space; several are separated by commas")
    return None if found == (_ANY,) else found


def excluded_roles(value: str) -> tuple[str, ...]:
    """Read the names of roles that do not count."""
    _refuse_json(value)
    found = names(value)
    for name in found:
        if name_problem(_judged(name, excluded_role_problem)) is not None:
            raise InvalidValueError("names of roles, separated by commas")
    return found


def _refuse_json(value: str) -> None:
    if value.strip().startswith("[") and value.strip().endswith("]"):
        raise InvalidValueError(_NOT_A_LIST)


def _judged(value: str, problem: Callable[[str], str | None]) -> str:
    found = problem(value)
    if found is not None:
        raise InvalidValueError(found)
    return value
