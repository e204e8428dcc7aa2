"""Shapes and their counts as JSON: in batches that sidecars send, and in the database.

Shapes of one context differ in the texts of their slots only, so that a context is written once. Slots that
have few values in a tenant are part of the context.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final, NamedTuple

from extauthz.domain.principal import Authentication, PrincipalKind
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.tenancy import UnmappedPolicy
from extauthz.domain.verdict import Rule, RuleKind
from extauthz.recording.bounds import MAX_BATCH_OCTETS, MAX_BATCH_SHAPES
from extauthz.recording.shape import HOST, METHOD, OWNER, PEER, PREFLIGHT, CredentialState, Shape

FIXED: Final = frozenset({HOST, METHOD, OWNER, PEER, PREFLIGHT})
HOURS_A_DAY: Final = 24
_HOUR: Final = "%Y-%m-%dT%H"
_CONTEXT_OCTETS: Final = 700
_ROW_OCTETS: Final = 120
_DECISION_OCTETS: Final = 64
Document = dict[str, Any]
_REASONS: Final[Mapping[str, Reason]] = {reason.value: reason for reason in Reason}


class Counted(NamedTuple):
    """How often a shape was asked in one hour (hours since 1970, UTC).

    `first` and `last` are policy revisions. `decisions` are the ids of the last ones with the revision of
    each, the latest last.
    """

    shape: Shape
    hour: int
    requests: int
    first: int
    last: int
    decisions: tuple[tuple[str, int], ...]


def context_of(shape: Shape) -> dict[str, object]:
    """Return what a shape has in common with those that differ in the texts of their slots only."""
    document = shape._asdict()
    document["fixed"] = {name: text for name, text in shape.slots if name in FIXED}
    document["slots"] = [name for name, _ in shape.slots if name not in FIXED]
    document["rule"] = None if shape.rule is None else {"id": shape.rule.id, "kind": shape.rule.kind}
    return document


def texts_of(shape: Shape) -> tuple[str, ...]:
    """Return the texts of the slots that are not part of the context."""
    return tuple(text for name, text in shape.slots if name not in FIXED)


def shape_of(context: Mapping[str, Any], texts: Sequence[str]) -> Shape:
    """Return the shape of a context that `context_of` wrote, with these texts in its slots."""
    kind, authentication, rule = context["kind"], context["authentication"], context["rule"]
    return Shape(
        tenant=context["tenant"],
        entrance=context["entrance"],
        unmapped=UnmappedPolicy(context["unmapped"]),
        credential=CredentialState(context["credential"]),
        kind=None if kind is None else PrincipalKind(kind),
        authentication=None if authentication is None else Authentication(authentication),
        bound=context["bound"],
        token_tenant=context["token_tenant"],
        domain=context["domain"],
        own_roles=tuple(context["own_roles"]),
        resource=context["resource"],
        action=context["action"],
        template=context["template"],
        slots=tuple(sorted((*context["fixed"].items(), *zip(context["slots"], texts, strict=True)))),
        effect=Effect(context["effect"]),
        reason=_REASONS[context["reason"]],
        rule=None if rule is None else Rule(rule["id"], RuleKind(rule["kind"])),
    )


def context_key(shape: Shape) -> Shape:
    """Return what is equal for shapes of one context."""
    slots = tuple((name, text if name in FIXED else "") for name, text in shape.slots)
    return shape._replace(slots=slots)


def day_of(hour: int) -> date:
    """Return the day of an hour, in UTC."""
    return datetime.fromtimestamp(hour * 3600, UTC).date()


def hour_text(hour: int) -> str:
    """Return an hour as text, such as `2026-11-30T08`."""
    return datetime.fromtimestamp(hour * 3600, UTC).strftime(_HOUR)


def hour_of(text: str) -> int:
    """Return the hour that a text of `hour_text` stands for. Raises ValueError for another text."""
    found = datetime.strptime(text, _HOUR).replace(tzinfo=UTC)
    hour = int(found.timestamp()) // 3600
    if hour_text(hour) != text:
        raise ValueError(text)
    return hour


class BatchWriter:
    """Divides counts into batches of a bounded size, numbered from 1 on, of one sender."""

    def __init__(self, instance: str) -> None:
        """Take the UUID of the sender."""
        self._instance = instance
        self._number = 0
        self._begin()

    def add(self, one: Counted) -> Document | None:
        """Add counts to the batch; return the one before, where these did not fit in it."""
        texts, key = texts_of(one.shape), context_key(one.shape)
        size = _ROW_OCTETS + sum(map(len, texts)) + _DECISION_OCTETS * len(one.decisions)
        if key not in self._contexts:
            size += _CONTEXT_OCTETS
        full = None
        if self._octets + size > MAX_BATCH_OCTETS or len(self._rows) >= MAX_BATCH_SHAPES:
            full = self.finish()
        self._octets += size
        if key not in self._contexts:
            self._contexts[key] = len(self._contexts)
            self._documents.append(context_of(one.shape))
        self._rows.append(
            {
                "context": self._contexts[key],
                "slots": texts,
                "hour": hour_text(one.hour),
                "requests": one.requests,
                "first_revision": one.first,
                "last_revision": one.last,
                "decisions": [{"id": decision, "revision": revision} for decision, revision in one.decisions],
            }
        )
        return full

    def finish(self) -> Document | None:
        """Return the batch; None: it is empty."""
        if not self._rows:
            return None
        self._number += 1
        batch = {
            "instance": self._instance,
            "number": self._number,
            "contexts": self._documents,
            "shapes": self._rows,
        }
        self._begin()
        return batch

    def _begin(self) -> None:
        self._contexts: dict[Shape, int] = {}
        self._documents: list[Document] = []
        self._rows: list[Document] = []
        self._octets = 0
