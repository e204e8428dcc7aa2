"""What a verified token says about its bearer: finding claims, freezing them, and the ones we understand.

Nothing here trusts a claim to have the type that its name suggests.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final, Literal

from extauthz.domain.names import name_problem
from extauthz.domain.policy import WILDCARD


class Absence(Enum):
    """The type of `ABSENT`; None cannot say it, because JSON's null is a value."""

    ABSENT = "absent"


ABSENT: Final = Absence.ABSENT


@dataclass(frozen=True, slots=True)
class ClaimProblem:
    """Why a claim cannot be used; safe to log, it names the claim and never quotes its value."""

    problem: str


def claim_at(claims: Mapping[str, object], path: str) -> object | Literal[Absence.ABSENT]:
    """Return the claim at a path in dot notation, or `ABSENT`.

    At every object the longest member name that begins the rest of the path is taken, so that names which
    contain dots themselves (`https://example.com/roles`, RFC 7519 4.2) are found, literally and before any
    nesting. There is no going back: one path means one place in one token.
    """
    here, rest = claims, path
    while rest not in here:
        cut = rest.rfind(".")
        while cut >= 0 and rest[:cut] not in here:
            cut = rest.rfind(".", 0, cut)
        if cut < 0:
            return ABSENT
        inner = here[rest[:cut]]
        if not isinstance(inner, Mapping):
            return ABSENT
        here, rest = inner, rest[cut + 1 :]
    return here[rest]


def freeze_claims(claims: Mapping[str, object]) -> Mapping[str, object]:
    """Return a deeply immutable copy: objects become mapping proxies, lists become tuples.

    The strict reader has bounded the depth.
    """
    return MappingProxyType({name: _frozen(value) for name, value in claims.items()})


def _frozen(value: object) -> object:
    match value:
        case dict():
            return freeze_claims(value)
        case list():
            return tuple(_frozen(item) for item in value)
        case _:
            return value


def token_roles(
    claims: Mapping[str, object], path: str, *, excluded: frozenset[str]
) -> tuple[str, ...] | ClaimProblem:
    """Return the roles at `path`, sorted and unique, without the excluded ones.

    A list of names, or one name on its own. No such claim: no roles. Anything else is a problem, never
    fewer roles: a role may be what a deny is written for.
    """
    claim = claim_at(claims, path)
    if claim is ABSENT:
        return ()
    names = [claim] if isinstance(claim, str) else claim
    if not isinstance(names, list | tuple):
        return ClaimProblem(f"claim {path!r} is not a list of roles")
    roles: set[str] = set()
    for name in names:
        if not isinstance(name, str):
            return ClaimProblem(f"claim {path!r} holds a role that is not a string")
        problem = name_problem(name)
        if problem is not None:
            return ClaimProblem(f"claim {path!r} holds a role that {problem}")
        roles.add(name)
    return tuple(sorted(roles - excluded))


def token_domain(claims: Mapping[str, object], path: str) -> str | ClaimProblem | None:
    """Return the domain at `path`; None when there is no such claim.

    A claim that is there is one canonical name other than `*`, which would be every domain.
    """
    claim = claim_at(claims, path)
    if claim is ABSENT:
        return None
    if not isinstance(claim, str):
        return ClaimProblem(f"claim {path!r} is not one string")
    if claim == WILDCARD:
        return ClaimProblem(f"claim {path!r} is the wildcard")
    problem = name_problem(claim)
    return claim if problem is None else ClaimProblem(f"claim {path!r} {problem}")


def admin_domains(claims: Mapping[str, object], path: str) -> frozenset[str]:
    """Return the domains that the bearer administers; `*` among them makes a tenant admin.

    A string or a list of strings. Whatever is not exactly that administers nothing.
    """
    claim = claim_at(claims, path)
    names = (claim,) if isinstance(claim, str) else claim
    if not isinstance(names, list | tuple):
        return frozenset()
    canonical = [name for name in names if isinstance(name, str) and name_problem(name) is None]
    return frozenset(canonical) if len(canonical) == len(names) else frozenset()
