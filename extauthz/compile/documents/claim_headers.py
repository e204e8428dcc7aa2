"""Reads what resources and identity providers say about requests on their way to the workload.

These are the members `headers` (header names, and attributes of the caller), `authorization` and `assertion`.
Input: the members, and the names in CLAIM_HEADERS. Output: a `Forwarding`, or problems with their place.
"""

from collections.abc import Mapping, Set
from typing import Final

from extauthz.compile.conditions.attribute_names import attribute_problem
from extauthz.compile.fields import Fields, shown
from extauthz.domain.forwarding import (
    MAX_CLAIM_HEADERS,
    AuthorizationHeader,
    Forwarding,
    claim_header_problem,
    forwarding_of,
)
from extauthz.domain.problem import Problem, pointer_token

_CALLER: Final = "user."
_NO_HEADERS: Final[frozenset[str]] = frozenset()


def parse_forwarding(fields: Fields, claim_headers: Set[str] | None) -> Forwarding | None:
    """Read `headers`, `authorization` and `assertion` of a resource or an identity provider."""
    headers: tuple[tuple[str, str], ...] = ()
    value = fields.get("headers")
    if fields.has("headers"):
        headers, found = read_claim_headers(value, claim_headers)
        fields.problems.extend(problem.under(fields.at("headers")) for problem in found)
    authorization = fields.choice("authorization", AuthorizationHeader, default=AuthorizationHeader.KEEP)
    return forwarding_of(headers, authorization, assertion=fields.flag("assertion", default=True))


def read_claim_headers(
    value: object, claim_headers: Set[str] | None
) -> tuple[tuple[tuple[str, str], ...], list[Problem]]:
    """Return the pairs in the order of names, and each problem with its pointer below the member.

    `claim_headers` None: CLAIM_HEADERS is unknown, and every name that it may have is accepted.
    """
    if not isinstance(value, Mapping):
        return (), [Problem("", f"found {shown(value)}, an object of header names and attributes is needed")]
    if len(value) > MAX_CLAIM_HEADERS:
        return (), [Problem("", f"has {len(value)} entries, at most {MAX_CLAIM_HEADERS} fit")]
    found: list[tuple[str, str]] = []
    problems: list[Problem] = []
    for name, attribute in value.items():
        problem = _name_problem(name, claim_headers) or _attribute_problem(attribute)
        if problem is None:
            found.append((str(name), str(attribute)))
        else:
            problems.append(Problem(f"/{pointer_token(str(name))}", problem))
    return tuple(sorted(found)), problems


def _name_problem(name: object, claim_headers: Set[str] | None) -> str | None:
    if not isinstance(name, str):
        return f"found {shown(name)}, the name of a header is needed"
    if claim_headers is not None and name in claim_headers:
        return None
    if problem := claim_header_problem(name.lower()):
        return f"the header {shown(name)} cannot be set from a claim: {problem}"
    if claim_headers is None and name == name.lower():
        return None
    if claim_headers is None or name.lower() in claim_headers:
        return f"found {shown(name)}, the name in lower case is needed"
    return f"the header {shown(name)} is not in CLAIM_HEADERS, so no proxy removes it from clients' requests"


def _attribute_problem(attribute: object) -> str | None:
    if not isinstance(attribute, str):
        return f"found {shown(attribute)}, an attribute of the caller (user.*) is needed"
    if not attribute.startswith(_CALLER):
        return f"found {shown(attribute)}, an attribute of the caller (user.*) is needed"
    problem = attribute_problem(attribute, _NO_HEADERS)
    return None if problem is None else f"{shown(attribute)} {problem}"
