"""The roles of a principal, each with all that gave it: its credential, bindings, and links between roles."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from extauthz.compile.roles.role_index import BindingIndex, request_subjects
from extauthz.domain.policy import WILDCARD, RoleBinding, SubjectKind
from extauthz.domain.principal import Principal

_NO_BINDINGS: Final[Mapping[str, RoleBinding]] = {}


@dataclass(frozen=True, slots=True)
class RoleOrigin:
    """A role, whether the credential has it, and the bindings and links that give it.

    A binding whose member is a role is a link: principals that have that role inherit this one.
    """

    role: str
    from_credential: bool
    bindings: tuple[RoleBinding, ...]

    @property
    def links(self) -> tuple[RoleBinding, ...]:
        """The bindings of roles."""
        return tuple(each for each in self.bindings if each.user_kind is SubjectKind.ROLE)


def role_origins(
    bindings: BindingIndex, principal: Principal, now: float
) -> tuple[tuple[RoleOrigin, ...], tuple[RoleBinding, ...]]:
    """Return the roles that a principal has at `now` (POSIX seconds), by name, and what has expired.

    The roles are those of `BindingIndex.subjects`.
    """
    own = frozenset(principal.roles)
    given: dict[str, dict[str, RoleBinding]] = {role: {} for role in principal.roles}
    expired: dict[str, RoleBinding] = {}
    frontier = [*request_subjects(principal), *(f"role:{role}" for role in principal.roles)]
    domains = (WILDCARD,) if principal.domain is None else (principal.domain, WILDCARD)
    while frontier:
        name = frontier.pop()
        for domain in domains:
            for binding in bindings.edges.get((domain, name), _NO_BINDINGS).values():
                if binding.expires_at is not None and binding.expires_at <= now:
                    expired[binding.id] = binding
                    continue
                if binding.role not in given:
                    given[binding.role] = {}
                    frontier.append(f"role:{binding.role}")
                given[binding.role][binding.id] = binding
    origins = tuple(
        RoleOrigin(role, role in own, tuple(given[role][each] for each in sorted(given[role])))
        for role in sorted(given)
    )
    return origins, tuple(expired[each] for each in sorted(expired))
