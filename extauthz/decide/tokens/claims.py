"""Reads the claims of a verified token: subject, kind, roles, domain, and the domains that it administers.

No claim is trusted to have the type that its name suggests; a claim that is null is absent. A claim that
cannot be read is a `ClaimRejected`, never fewer roles and never no domain.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from types import MappingProxyType

from extauthz.domain.claim_readings import AdminRole, DomainClaim, RoleClaim, RoleShape, ServiceClaim
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


def same_claims(first: object, second: object) -> bool:
    """Tell whether two values of claims are the same JSON value, frozen or not.

    Types count: `true` is not 1, and text is not a number. Numbers compare exactly.
    """
    match first, second:
        case Mapping(), Mapping():
            return first.keys() == second.keys() and all(
                same_claims(first[key], second[key]) for key in first
            )
        case ((list() | tuple()), (list() | tuple())):
            return len(first) == len(second) and all(map(same_claims, first, second))
        case (bool(), _) | (_, bool()):
            return first is second
        case ((int() | Decimal()), (int() | Decimal())):
            return first == second
        case _:
            return type(first) is type(second) and first == second


def token_subject(claims: Mapping[str, object], paths: tuple[str, ...]) -> str | ClaimRejected:
    """Return the first subject that one of the claims has: a canonical name."""
    for path in paths:
        claim = claim_at(claims, path)
        if claim is not ABSENT:
            if not isinstance(claim, str):
                return ClaimRejected(f"{path} is {value_kind(claim)}, not a string")
            problem = name_problem(claim)
            return claim if problem is None else ClaimRejected(f"{path} {problem}")
    return ClaimRejected(f"{' and '.join(paths)} {'is' if len(paths) == 1 else 'are'} missing")


def is_service(claims: Mapping[str, object], service: ServiceClaim | None) -> bool:
    """Tell whether the token's principal is a service."""
    if service is None:
        return False
    claim = claim_at(claims, service.claim)
    return claim is not ABSENT if service.value is None else claim == service.value


def all_roles(
    claims: Mapping[str, object], readings: Iterable[RoleClaim], *, excluded: frozenset[str]
) -> tuple[str, ...] | ClaimRejected:
    """Return the roles of every claim, sorted and unique, without the excluded ones.

    An absent claim has no roles. One that is not as its shape says is a problem, never fewer roles: a deny
    may be written for a role. Exclusion compares names after their prefix was put before them.
    """
    roles: set[str] = set()
    for reading in readings:
        names = _names_in(claims, reading)
        if isinstance(names, ClaimRejected):
            return names
        for name in names:
            if not isinstance(name, str):
                kind = value_kind(name)
                return ClaimRejected(f"claim {reading.claim!r} holds a role that is {kind}, not a string")
            role = reading.prefix + name
            problem = name_problem(role) if name else "is empty"
            if problem is not None:
                return ClaimRejected(f"claim {reading.claim!r} holds a role that {problem}")
            roles.add(role)
    return tuple(sorted(roles - excluded))


def token_roles(
    claims: Mapping[str, object], path: str, *, excluded: frozenset[str]
) -> tuple[str, ...] | ClaimRejected:
    """Return the roles at `path`, a list of names or one name on its own; see `all_roles`."""
    return all_roles(claims, (RoleClaim(path),), excluded=excluded)


def _names_in(claims: Mapping[str, object], reading: RoleClaim) -> Iterable[object] | ClaimRejected:
    """Take a claim apart by its shape."""
    path = reading.claim
    claim = claim_at(claims, path)
    if claim is ABSENT:
        kind = blocked_by(claims, path)
        return () if kind is None else ClaimRejected(f"claim {path!r} leads through {kind}, not an object")
    match reading.shape, claim:
        case (RoleShape.LIST | RoleShape.STRING, str()):
            return (claim,)
        case (RoleShape.LIST, list() | tuple()):
            return claim
        case (RoleShape.SPACE, str()):
            return claim.split(" ") if claim else ()
        case (RoleShape.COMMA, str()):
            return [name.strip(" ") for name in claim.split(",")] if claim else ()
        case (RoleShape.OBJECT_KEYS, Mapping()):
            # `{"admin": false}` does not say that the bearer has the role, and does not say nothing.
            for value in claim.values():
                if value is None or isinstance(value, bool):
                    return ClaimRejected(f"claim {path!r} holds a role whose value is {value_kind(value)}")
            return claim
        case _:
            return ClaimRejected(f"claim {path!r} is {value_kind(claim)}, not {_WANTED[reading.shape]}")


_WANTED = {
    RoleShape.LIST: "a list of roles",
    RoleShape.STRING: "one string",
    RoleShape.SPACE: "a string of roles separated by spaces",
    RoleShape.COMMA: "a string of roles separated by commas",
    RoleShape.OBJECT_KEYS: "an object whose member names are roles",
}


def first_domain(claims: Mapping[str, object], readings: Iterable[DomainClaim]) -> str | ClaimRejected | None:
    """Return the domain that the first of the claims has, None when a token has none of them."""
    for reading in readings:
        domain = token_domain(claims, reading.claim, in_collection=reading.in_collection)
        if domain is not None:
            return domain
    return None


def token_domain(
    claims: Mapping[str, object], path: str, *, in_collection: bool = False
) -> str | ClaimRejected | None:
    """Return the domain at `path`; None when there is no such claim.

    A claim is one canonical name other than `*`, which would be every domain. With `in_collection` it may
    be a list or object with that name as its only entry or member; an empty one is not a domain.
    """
    claim = claim_at(claims, path)
    if claim is ABSENT:
        kind = blocked_by(claims, path)
        return None if kind is None else ClaimRejected(f"claim {path!r} leads through {kind}, not an object")
    if in_collection and isinstance(claim, Mapping | list | tuple):
        entries = list(claim)
        if len(entries) > 1:
            return ClaimRejected(f"claim {path!r} holds {len(entries)} domains, not one")
        if not entries:
            return None
        claim = entries[0]
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


def administered_domains(
    claims: Mapping[str, object], roles: Iterable[str], path: str, admin_roles: Iterable[AdminRole]
) -> frozenset[str]:
    """Return the domains that the bearer administers, by its claim or by its own roles; `*` is the tenant."""
    held = frozenset(roles)
    return admin_domains(claims, path) | {each.domain for each in admin_roles if each.role in held}
