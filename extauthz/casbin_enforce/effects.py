"""Casbin's policy effects over the rows that matched; a row that cannot be evaluated never allows.

A row can match, not match, or leave it open. What is open in an allow row does not match, what is open in a
deny row does; if the other way round would have allowed, the answer says what was open.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from casbin.effect import Effector, effect_to_bool, get_effector

from extauthz.domain.reasons import Effect

_ANY_ALLOW: Final = "some(where (p_eft == allow))"
_BY_SUBJECT: Final = "subjectPriority(p_eft) || deny"
_BY_PRIORITY: Final = "priority(p_eft) || deny"


@dataclass(frozen=True, slots=True)
class Hit:
    """A row that matched, or (`open` says why) may have; rows of a lower rank come first."""

    effect: Effect
    rank: int
    open: str | None = None


class PolicyEffect:
    """The model's `[policy_effect]`.

    Raises:
        RuntimeError: an effect that pycasbin does not know.
    """

    def __init__(self, definition: str) -> None:
        """Take the definition as pycasbin's model holds it."""
        self._effector = get_effector(definition)
        self.counts_denies = definition != _ANY_ALLOW
        self.by_subject = definition == _BY_SUBJECT
        self.ranked = self.by_subject or definition == _BY_PRIORITY

    def judge(self, hits: Iterable[Hit]) -> bool | str:
        """Return whether the hits allow, or what has to be mended before they could."""
        found = sorted(hits, key=lambda hit: hit.rank)
        if self._allows(hit for hit in found if hit.open is None or hit.effect is Effect.DENY):
            return True
        if all(hit.open is None for hit in found):
            return False
        if self._allows(hit for hit in found if hit.open is None or hit.effect is Effect.ALLOW):
            return next(hit.open for hit in found if hit.open is not None)
        return False

    def _allows(self, hits: Iterator[Hit]) -> bool:
        if not self.ranked:
            return self._final({hit.effect for hit in hits})
        for _, equals in groupby(hits, key=lambda hit: hit.rank):
            # Equal ranks would be decided by the order of the rows: there a deny wins.
            return all(hit.effect is Effect.ALLOW for hit in equals)
        return self._final(set())

    def _final(self, effects: set[Effect]) -> bool:
        words = {Effect.ALLOW: Effector.ALLOW, Effect.DENY: Effector.DENY}
        return bool(effect_to_bool(self._effector.final_effect({words[effect] for effect in effects})))
