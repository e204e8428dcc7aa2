"""What a verified token says about its bearer: freezing claims, and the ones we understand.

Nothing here trusts a claim to have the type that its name suggests. A claim that is null is absent.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from extauthz.domain.claims import ABSENT, blocked_by, claim_at, value_kind
from extauthz.domain.names import name_problem
from extauthz.domain.policy import WILDCARD


@dataclass(frozen=True, slots=True)
class ClaimRejected:
    """Why a claim cannot be used; safe to log, it names the claim and never quotes its value."""

    problem: str


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
) -> tuple[str, ...] | ClaimRejected:
    """Return the roles at `path`, sorted and unique, without the excluded ones.

    A list of names, or one name on its own. No such claim: no roles. Anything else is a problem, never
    fewer roles: a role may be what a deny is written for.
    """
    claim = claim_at(claims, path)
    if claim is ABSENT:
        kind = blocked_by(claims, path)
        return () if kind is None else ClaimRejected(f"claim {path!r} leads through {kind}, not an object")
    names = [claim] if isinstance(claim, str) else claim
    if not isinstance(names, list | tuple):
        return ClaimRejected(f"claim {path!r} is {value_kind(claim)}, not a list of roles")
    roles: set[str] = set()
    for name in names:
        if not isinstance(name, str):
            return ClaimRejected(f"claim {path!r} holds a role that is {value_kind(name)}, not a string")
        problem = name_problem(name)
        if problem is not None:
            return ClaimRejected(f"claim {path!r} holds a role that {problem}")
        roles.add(name)
    return tuple(sorted(roles - excluded))


def token_domain(claims: Mapping[str, object], path: str) -> str | ClaimRejected | None:
    """Return the domain at `path`; None when there is no such claim.

    A claim that is there is one canonical name other than `*`, which would be every domain.
    """
    claim = claim_at(claims, path)
    if claim is ABSENT:
        kind = blocked_by(claims, path)
        return None if kind is None else ClaimRejected(f"claim {path!r} leads through {kind}, not an object")
    if not isinstance(claim, str):
        return ClaimRejected(f"claim {path!r} is {value_kind(claim)}, not one string")
    if claim == WILDCARD:
        return ClaimRejected(f"claim {path!r} is the wildcard")
    problem = name_problem(claim)
    return claim if problem is None else ClaimRejected(f"claim {path!r} {problem}")


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
