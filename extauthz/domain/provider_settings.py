"""Finds settings of an identity provider that cannot match any token, and says what to write instead.

Each function takes one value and returns what it has to be, as the end of "it must be", or None when it may
be good. Claim names are free text (RFC 7519 4.2: `https://example.com/roles`, `cognito:groups`) and audiences
any string or URI (4.1.3), so only the spellings of other notations are refused: JSONPath, JMESPath, JSON
Pointer, quotes, JSON lists and templates that were not filled in.
"""

import re
from typing import Final

from extauthz.domain.policy import WILDCARD

_QUOTES: Final = "\"'`"
_TEMPLATE: Final = re.compile(r"[{}]|<[^<>]*>|\A\$(?![.\[]|\Z)")
_JSON_PATH: Final = re.compile(r"\A\$(?=[.\[]|\Z)")
_QUOTED_MEMBER: Final = re.compile(r"\[\s*(['\"])(.*?)\1\s*\]")
_SUBSCRIPT: Final = re.compile(r"\[(?:\*|:|[0-9]*|\?[^\]]*)\]")
_POINTER: Final = re.compile(r"\A#?/")
_WILDCARD: Final = re.compile(r"(?:\A|\.)\*+(?=\.|\Z)")
_LAST_WILDCARD: Final = re.compile(r"(?:\.\*+)+\Z")
_WELL_KNOWN: Final = re.compile(r"/\.well-known/[^/]*/*\Z")
_ANY_TENANT: Final = re.compile(
    r"//login\.microsoftonline\.(?:com|us)/(common|organizations|consumers)(?=/|\Z)"
)


def claim_path_problem(path: str) -> str | None:
    """Judge a claim path: names joined by dots, such as `realm_access.roles`."""
    problem = _path_problem(path)
    if problem is None:
        return None
    plain = _plain_path(path)
    return f"{problem}; write {plain}" if plain and _path_problem(plain) is None else problem


def _path_problem(path: str) -> str | None:
    if _TEMPLATE.search(path):
        return "the path of a claim, without a template that was not filled in"
    if "," in path:
        return "the path of one claim, not of several"
    found = _other_notation(path)
    return None if found is None else f"a path of claim names joined by dots, not {found}"


def _other_notation(path: str) -> str | None:
    if _JSON_PATH.search(path):
        return "JSONPath"
    if _POINTER.search(path):
        return "a JSON Pointer"
    if any(quote in path for quote in '"`') or path.strip("'") != path:
        return "in quotes"
    if _QUOTED_MEMBER.search(path) or _SUBSCRIPT.search(path):
        return "with brackets: a list is read as a whole"
    if _WILDCARD.search(path):
        return "with a wildcard"
    return "with an empty name between its dots" if "" in path.split(".") else None


def _plain_path(path: str) -> str:
    plain = _QUOTED_MEMBER.sub(r".\2", _JSON_PATH.sub("", path.strip(_QUOTES)))
    plain = _SUBSCRIPT.sub("", plain)
    if _POINTER.search(plain):
        # RFC 6901 3: `~1` is a slash in a name, `~0` a tilde.
        parts = plain.lstrip("#").split("/")
        plain = ".".join(part.replace("~1", "/").replace("~0", "~") for part in parts)
    plain = _LAST_WILDCARD.sub("", plain.replace('"', "").replace("`", ""))
    return re.sub(r"\.{2,}", ".", plain).strip(".")


def audience_problem(audience: str) -> str | None:
    """Judge one audience, which is compared exactly; a comma is part of it (RFC 7519 4.1.3: any string)."""
    if _TEMPLATE.search(audience):
        return "an audience, without a template that was not filled in"
    if audience.strip(_QUOTES) != audience:
        return f"an audience without quotes; write {audience.strip(_QUOTES)}"
    if _is_json_list(audience):
        return "an audience, not a list written as text"
    if audience == "*" or (audience != "any" and audience.lower() == "any"):
        return "an audience; every audience is 'any', spelt so"
    return None


def excluded_role_problem(role: str) -> str | None:
    """Judge the name of one excluded role."""
    if role.strip(_QUOTES) != role:
        return f"the name of a role without quotes; write {role.strip(_QUOTES)}"
    if _is_json_list(role):
        return "the name of a role, not a list written as text"
    if role == WILDCARD:
        return "the name of a role; '*' is a wildcard, which excludes no role"
    return None


def _is_json_list(text: str) -> bool:
    return text.startswith("[") and text.endswith("]")


def issuer_problem(issuer: str) -> str | None:
    """Judge an issuer, which is compared exactly with `iss`; `issuer` is an absolute http or https URL."""
    if _TEMPLATE.search(issuer):
        return "the issuer as tokens name it, with your tenant's own id where the template has a placeholder"
    if any_tenant := _ANY_TENANT.search(issuer):
        return f"the issuer as tokens name it, with your tenant's id where {any_tenant[1]!r} is"
    if _WELL_KNOWN.search(issuer):
        return f"the issuer, not its discovery document; write {_WELL_KNOWN.sub('', issuer)}"
    # OpenID Connect Discovery 1.0, 3: no query and no fragment.
    if "?" in issuer or "#" in issuer:
        return "an issuer, which has neither query nor fragment"
    # RFC 3986 3.2.1. A password would be stored, shown and logged with every failure.
    if "@" in issuer.partition("//")[2].partition("/")[0]:
        return "an issuer without credentials"
    return None


def jwks_uri_problem(address: str) -> str | None:
    """Judge the address of a key set; `address` is an absolute http or https URL."""
    if _TEMPLATE.search(address):
        return "the address of the key set, with your own id where the template has a placeholder"
    if re.search(r"/\.well-known/(?:openid-configuration|oauth-authorization-server)/*\Z", address):
        return "the address of the key set, not of the discovery document; left out, it is discovered"
    if "#" in address:
        return "the address of the key set, without a fragment"
    return None
