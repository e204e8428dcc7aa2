"""Rejected rows: the requests that they might deny.

A row with a field too few, too many or empty, or with an unknown effect, is read in every way that its author
can have meant. An unknown field is left open, so that the row concerns the requests that it could have
matched, and no others.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb
from typing import Final

from extauthz.casbin_enforce.functions import Undecided
from extauthz.casbin_enforce.matcher import Matcher, MatcherEvaluation, MatcherInvalid, parse_rule
from extauthz.casbin_enforce.model import PlainModel
from extauthz.casbin_enforce.policy_file import Row
from extauthz.domain.reasons import Effect

_MAX_READINGS: Final = 64
_MAX_SUSPECTS: Final = 256
_MISSING: Final = Undecided("a field is missing")

_Reading = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class _Suspect:
    complaint: str
    readings: tuple[tuple[Mapping[str, object], Mapping[str, Matcher | MatcherInvalid]], ...]


class Suspects:
    """The refused rows of a policy that are not certain to be allows."""

    def __init__(self, model: PlainModel, rows: Sequence[Row]) -> None:
        """Take all rows of the policy; those without a problem are only judged by their effect."""
        self._model = model
        self._effect_field = model.token("p_eft")
        self._suspects = []
        for row in rows:
            found = self._suspect(row)
            if found is not None and found.readings:
                self._suspects.append(found)
        if len(self._suspects) > _MAX_SUSPECTS:
            count = len(self._suspects)
            unknown = (self._named(self._unknown()),)
            self._suspects = [replace(self._suspects[0], readings=unknown)]
            self._suspects[0] = replace(
                self._suspects[0], complaint=f"{self._suspects[0].complaint}, and {count - 1} rows more"
            )

    def complaint(self, evaluation: MatcherEvaluation, request: Mapping[str, object]) -> str | None:
        """Return what is wrong with the first row that may deny this request, None when there is none."""
        for suspect in self._suspects:
            for names, rules in suspect.readings:
                try:
                    if not evaluation.matches(self._model.matcher, {**request, **names}, rules):
                        continue
                except Exception:  # noqa: BLE001, S110  # INVARIANT: what cannot be evaluated may match
                    pass
                return suspect.complaint
        return None

    def has_known_effect(self, row: Row) -> bool:
        """Tell whether a row without a problem says `allow` or `deny`, or the model knows no effects."""
        if self._effect_field is None:
            return True
        return row.fields[self._effect_field] in {effect.value for effect in Effect}

    def _suspect(self, row: Row) -> _Suspect | None:
        if row.problem is None:
            if row.kind != "p" or self.has_known_effect(row):
                return None
            written = row.fields[self._effect_field or 0]
            row = replace(row, problem=f"has the effect {written[:32]!r}, neither allow nor deny")
        if row.kind != "p":
            readings: Iterator[_Reading] = iter(
                () if self._without_it_less_is_allowed() else (self._unknown(),)
            )
        elif self._effect_field is None or not self._model.effect.counts_denies:
            # A row is an allow, or nothing.
            readings = iter(())
        else:
            readings = self._readings(row.fields)
        denying = (reading for reading in readings if not self._allows(reading))
        return _Suspect(row.complaint, tuple(self._named(reading) for reading in denying))

    def _readings(self, fields: tuple[str, ...]) -> Iterator[_Reading]:
        """Yield the row with fields left out, or open ones put in, until it has as many as the model."""
        known = tuple(_MISSING if value == "" else value for value in fields)
        width, count = len(self._model.policy), len(known)
        if comb(max(width, count), min(width, count)) > _MAX_READINGS:
            yield self._unknown()
        elif count >= width:
            yield from combinations(known, width)
        else:
            for places in combinations(range(width), count):
                reading: list[object] = [_MISSING] * width
                for place, value in zip(places, known, strict=True):
                    reading[place] = value
                yield tuple(reading)

    def _unknown(self) -> _Reading:
        return (_MISSING,) * len(self._model.policy)

    def _allows(self, reading: _Reading) -> bool:
        return self._effect_field is not None and reading[self._effect_field] == Effect.ALLOW.value

    def _named(
        self, reading: _Reading
    ) -> tuple[Mapping[str, object], Mapping[str, Matcher | MatcherInvalid]]:
        names = dict(zip(self._model.policy, reading, strict=True))
        rules = {
            name: parse_rule(value) if isinstance(value, str) else MatcherInvalid("is missing")
            for name in self._model.matcher.rules
            if (value := names.get(name)) is not None
        }
        return names, rules

    def _without_it_less_is_allowed(self) -> bool:
        """Tell whether leaving out a row that is not a `p` row can only deny more."""
        matcher = self._model.matcher
        return (
            (self._effect_field is None or not self._model.effect.counts_denies)
            and not matcher.rules
            and all(matcher.only_gains_by(kind) for kind in self._model.roles)
        )
