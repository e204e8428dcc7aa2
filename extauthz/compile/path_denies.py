"""Denies on paths, where the path is the resource (`UNMAPPED=path`): they hold for every spelling of it.

`/a@b` and `/a%40b` are two names (RFC 3986 2.2) of what most upstreams read as one path. An allow is for the
name that it was written on; a deny that another spelling could dodge would be none.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import reduce
from urllib.parse import unquote

from immutables import Map

from extauthz.domain.policy import AttributePolicy, RoleRule
from extauthz.domain.reasons import Effect


@dataclass(frozen=True, slots=True)
class PathDenies:
    """The names with escapes that denies are written on: decoded name to rule id to name. Immutable."""

    escaped: Map[str, Map[str, str]] = field(default_factory=Map)

    @classmethod
    def of(cls, rules: Iterable[RoleRule | AttributePolicy]) -> "PathDenies":
        """Return the denies among many rules, nearly all of which are none of them."""
        return reduce(cls.with_rule, (rule for rule in rules if rule.effect is Effect.DENY), cls())

    def with_rule(self, rule: RoleRule | AttributePolicy) -> "PathDenies":
        """Return the denies with the rule added, if it is one of them."""
        name = _denied_name(rule)
        if name is None:
            return self
        decoded = unquote(name)
        return PathDenies(self.escaped.set(decoded, self.escaped.get(decoded, Map()).set(rule.id, name)))

    def without_rule(self, rule: RoleRule | AttributePolicy) -> "PathDenies":
        """Return the denies with the rule taken out."""
        name = _denied_name(rule)
        if name is None:
            return self
        decoded = unquote(name)
        known = self.escaped.get(decoded, Map())
        if rule.id not in known:
            return self
        rest = known.delete(rule.id)
        return PathDenies(self.escaped.set(decoded, rest) if rest else self.escaped.delete(decoded))

    def other_spellings(self, path: str) -> tuple[str, ...]:
        """Return the names, other than `path` itself, that a deny on this canonical path may have."""
        if "%" not in path and not self.escaped:
            return ()
        decoded = unquote(path)
        names = dict.fromkeys((decoded, *self.escaped.get(decoded, Map()).values()))
        return tuple(name for name in names if name != path)


def _denied_name(rule: RoleRule | AttributePolicy) -> str | None:
    name = rule.obj if isinstance(rule, RoleRule) else rule.resource
    return name if rule.effect is Effect.DENY and "%" in name else None
