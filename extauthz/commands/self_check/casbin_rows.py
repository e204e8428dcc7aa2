"""Known requests with their right answers for `extauthz casbin enforce`, under a model with patterns."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final

from extauthz.casbin_enforce.engine import FileInvalid, load_engine
from extauthz.commands.self_check.rows import SelfCheckRows, WrongRow, wrong_rows

_MODEL: Final = """
[request_definition]
r = sub, obj, act
[policy_definition]
p = sub, obj, act, eft
[policy_effect]
e = some(where (p.eft == allow)) && !some(where (p.eft == deny))
[matchers]
m = r.sub == p.sub && keyMatch2(r.obj, p.obj) && regexMatch(r.act, p.act)
"""
_POLICY: Final = b"""
p, alice, /invoices/:number, get|head, allow
p, alice, /invoices/:number/*, get, allow
p, alice, /invoices/7, .*, deny
"""
_REQUESTS: SelfCheckRows = (
    ('["alice", "/invoices/1", "get"]', "true"),
    ('["alice", "/invoices/1/lines/2", "get"]', "true"),
    ('["alice", "/invoices/1/lines/2", "head"]', "false"),
    ('["alice", "/invoices/", "get"]', "false"),
    ('["alice", "/invoices/7", "get"]', "false"),
    ('["alice", "/invoices/1", "put"]', "false"),
    ('["bob", "/invoices/1", "get"]', "false"),
)


def casbin_rows(now: datetime) -> Iterator[WrongRow]:
    """Yield the rows that come out wrong."""
    engine = load_engine(_MODEL, _POLICY)
    if isinstance(engine, FileInvalid):
        yield WrongRow("Casbin model", engine.part, "usable", engine.message)
        return
    yield from wrong_rows("Casbin request", lambda line: engine.answer(line.encode(), now), _REQUESTS)
