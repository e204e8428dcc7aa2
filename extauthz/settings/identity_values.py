"""Readers of the variables about the identity provider; `extauthz.domain.provider_settings` has the rules.

Input: the text of a variable. Output: its value. Errors: `InvalidValueError`.
"""

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
    """Return the path of a claim, member names separated by dots."""
    return _judged(text(value).strip(), claim_path_problem)


def issuer(value: str) -> str:
    """Return the issuer of tokens: an http or https URL (OpenID Connect Discovery 1.0, 2)."""
    return _judged(url(value), issuer_problem)


def jwks_uri(value: str) -> str:
    """Return the URL of a JWK Set (RFC 7517)."""
    return _judged(url(value), jwks_uri_problem)


def audiences(value: str) -> tuple[str, ...] | None:
    """Return the accepted audiences; None for `any`, which accepts every audience."""
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
    """Return the names of roles that are ignored in tokens."""
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
