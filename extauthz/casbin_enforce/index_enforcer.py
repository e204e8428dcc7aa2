"""Enforces models of the shape of `policies/model.conf` with the index of serving, for any number of rows."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from immutables import Map

from extauthz.casbin_enforce.model import PlainModel
from extauthz.casbin_enforce.policy_file import Row
from extauthz.casbin_enforce.rejected_rows import Suspects
from extauthz.casbin_enforce.roles import Far, too_far
from extauthz.casbin_enforce.row_enforcer import evaluation_at, graphs_of
from extauthz.compile.roles.role_index import ANONYMOUS_SUBJECT, Cell, CellKey, RoleIndex
from extauthz.compile.roles.role_model import RoleModel
from extauthz.domain.reasons import Effect


class IndexedEngine:
    """The compiled model over plain names: subject and roles are looked up as they are written."""

    def __init__(self, compiled: RoleModel, model: PlainModel, rows: Sequence[Row]) -> None:
        """Take the model as compiled and as read, and the rows as they were read, the refused ones too."""
        self._model = model
        self._graphs = graphs_of(model, rows)
        self._suspects = Suspects(model, rows)
        self._rules = RoleIndex(
            compiled,
            _cells(
                row
                for row in rows
                if row.kind == "p" and row.problem is None and self._suspects.has_known_effect(row)
            ),
        )

    def decide(self, values: Sequence[object], now: datetime) -> bool | str:
        """Return whether the request is allowed, or what has to be mended before that can be said."""
        if not all(isinstance(value, str) for value in values):
            return "the model compares text, and the request has other values"
        sub, dom, obj, act = (str(value) for value in values)
        graph = self._graphs["g"]

        def allows(names: frozenset[str]) -> bool:
            found = self._rules.decide(
                names, authenticated=sub != ANONYMOUS_SUBJECT, dom=dom, obj=obj, act=act
            )
            return found is not None and found.effect is Effect.ALLOW

        if not allows(graph.names(sub, dom)):
            return False
        if not allows(graph.names_at_any_distance(sub, dom)):
            return too_far(sub)
        request = dict(zip(self._model.request, values, strict=True))
        return self._suspects.complaint(evaluation_at(now, self._graphs, far=Far.OPEN), request) or True


def _cells(rows: Iterable[Row]) -> Map[CellKey, Cell]:
    sides: dict[CellKey, tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]] = {}
    for row in rows:
        sub, dom, obj, act, effect = row.fields
        allow, deny = sides.setdefault((obj, act, dom), ({}, {}))
        (allow if effect == Effect.ALLOW.value else deny)[sub] = (str(row.line),)
    return Map({key: Cell(Map(allow), Map(deny)) for key, (allow, deny) in sides.items()})
