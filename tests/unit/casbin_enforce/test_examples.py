"""`extauthz casbin enforce` and the examples of Casbin's own documentation."""

from typing import Any

import pytest

from extauthz.casbin_enforce.index_enforcer import IndexedEngine
from extauthz.casbin_enforce.row_enforcer import GuardedEngine
from extauthz.shipped import shipped
from tests.casbin_models import (
    BASIC,
    NOT_DENY,
    NOW,
    PRIORITY,
    RBAC,
    SUBJECT_PRIORITY,
    WITH_EFFECT,
    ask,
    engine,
    model,
)

KEY_MATCH_POLICY = """
p, alice, /alice_data/*, GET
p, alice, /alice_data/resource1, POST
p, bob, /alice_data/resource2, GET
p, cathy, /cathy_data, (GET)|(POST)
"""
DOMAINS = {"request": "sub, dom, obj, act", "policy": "sub, dom, obj, act", "roles": "g = _, _, _"}
IN_DOMAIN = "g(r.sub, p.sub, r.dom) && r.dom == p.dom && r.obj == p.obj && r.act == p.act"
RESOURCE_ROLES = "g(r.sub, p.sub) && g2(r.obj, p.obj) && r.act == p.act"


@pytest.mark.parametrize(
    ("definition", "policy", "request_", "expected"),
    [
        (model(), "p, alice, data1, read\np, bob, data2, write", ["alice", "data1", "read"], "true"),
        (model(), "p, alice, data1, read\np, bob, data2, write", ["bob", "data1", "read"], "false"),
        (model(f'{BASIC} || r.sub == "root"'), "p, alice, d, read", ["root", "data1", "read"], "true"),
        (model(f'{BASIC} || r.sub == "root"'), "", ["root", "data1", "read"], "true"),
        (model(f'{BASIC} || r.sub == "root"'), "", ["alice", "data1", "read"], "false"),
        (model(RBAC, roles="g = _, _"), "p, a, data2, read\ng, alice, a", ["alice", "data2", "read"], "true"),
        (model(RBAC, roles="g = _, _"), "p, a, data2, read\ng, alice, a", ["bob", "data2", "read"], "false"),
        (
            model(RBAC, roles="g = _, _", **WITH_EFFECT),
            "p, a, d, w, allow\np, alice, d, w, deny\ng, alice, a",
            ["alice", "d", "w"],
            "false",
        ),
        (model(RBAC, roles="g = _, _", effect=NOT_DENY, policy="sub, obj, act, eft"),
         "p, alice, d, w, deny", ["bob", "d", "w"], "true"),
        (
            model(RESOURCE_ROLES, roles="g = _, _\ng2 = _, _"),
            "p, alice, group, write\ng2, data1, group",
            ["alice", "data1", "write"],
            "true",
        ),
        (model(IN_DOMAIN, **DOMAINS), "p, a, d1, o, r\ng, alice, a, d1", ["alice", "d1", "o", "r"], "true"),
        (model(IN_DOMAIN, **DOMAINS), "p, a, d2, o, r\ng, alice, a, d1", ["alice", "d2", "o", "r"], "false"),
        (
            model("r.sub == p.sub && keyMatch(r.obj, p.obj) && regexMatch(r.act, p.act)"),
            KEY_MATCH_POLICY,
            ["alice", "/alice_data/resource2", "GET"],
            "true",
        ),
        (
            model("r.sub == p.sub && keyMatch(r.obj, p.obj) && regexMatch(r.act, p.act)"),
            KEY_MATCH_POLICY,
            ["cathy", "/cathy_data", "POST"],
            "true",
        ),
        (
            model("r.sub == p.sub && keyMatch(r.obj, p.obj) && regexMatch(r.act, p.act)"),
            KEY_MATCH_POLICY,
            ["cathy", "/cathy_data", "DELETE"],
            "false",
        ),
        (model("ipMatch(r.sub, p.sub) && r.obj == p.obj && r.act == p.act"),
         "p, 192.168.2.0/24, data1, read", ["192.168.2.123", "data1", "read"], "true"),
        (model("r.sub == r.obj.Owner"), "", ["alice", {"Name": "data1", "Owner": "alice"}, "read"], "true"),
        (model("r.sub == r.obj.Owner"), "", ["bob", {"Name": "data1", "Owner": "alice"}, "read"], "false"),
        (
            model("eval(p.sub_rule) && r.obj == p.obj && r.act == p.act", policy="sub_rule, obj, act"),
            "p, r.sub.Age > 18 && r.sub.Age < 60, /data1, read",
            [{"Name": "alice", "Age": 30}, "/data1", "read"],
            "true",
        ),
        (
            model("eval(p.sub_rule) && r.obj == p.obj && r.act == p.act", policy="sub_rule, obj, act"),
            "p, r.sub.Age > 18 && r.sub.Age < 60, /data1, read",
            [{"Name": "alice", "Age": 60}, "/data1", "read"],
            "false",
        ),
        (
            model("r.sub_level >= r.obj_level && r.a == 'read'", request="sub, sub_level, obj, obj_level, a"),
            "",
            ["alice", 3, "data", 1, "read"],
            "true",
        ),
        (
            model(RBAC, roles="g = _, _", effect=PRIORITY, policy="priority, sub, obj, act, eft"),
            "p, 10, a, d, w, deny\np, 1, alice, d, w, allow\ng, alice, a",
            ["alice", "d", "w"],
            "true",
        ),
        (
            model(RBAC, roles="g = _, _", effect=SUBJECT_PRIORITY, policy="sub, obj, act, eft"),
            "p, admin, d, w, deny\np, jane, d, w, allow\ng, jane, editor\ng, editor, admin",
            ["jane", "d", "w"],
            "true",
        ),
        (
            model(RBAC, roles="g = _, _, (_, _)"),
            "p, a, d, w\ng, alice, a, 2026-01-01 00:00:00, 2027-01-01 00:00:00",
            ["alice", "d", "w"],
            "true",
        ),
        (
            model(RBAC, roles="g = _, _, (_, _)"),
            "p, a, d, w\ng, alice, a, _, 2026-01-01 00:00:00",
            ["alice", "d", "w"],
            "false",
        ),
        (model("r.sub == p.sub && timeMatch(p.start, p.end)", policy="sub, start, end"),
         "p, alice, _, 2026-02-01 00:00:00", ["alice", "d", "w"], "true"),
        (model('r.sub.lower() == p.sub && r.obj.startswith("/x/")'), "p, alice, o, a",
         ["ALICE", "/x/1", "read"], "true"),
    ],
)  # fmt: skip
def test_casbins_own_examples_are_enforced_as_casbin_does(
    definition: str, policy: str, request_: list[Any], expected: str
) -> None:
    assert ask(definition, policy, *request_) == expected


def test_the_shipped_model_runs_on_the_index_and_other_models_do_not() -> None:
    shape = shipped("policies/model.conf").read_text()
    indexed = engine(shape, "p, admin, *, doc, read, allow\ng, alice, admin, d1")
    assert isinstance(indexed.decider, IndexedEngine)
    assert indexed.answer(b'["alice", "d1", "doc", "read"]', NOW) == "true"
    # Plain Casbin: the names are those of the file, without kinds.
    assert indexed.answer(b'["admin", "d1", "doc", "read"]', NOW) == "true"
    assert indexed.answer(b'["role:admin", "d1", "doc", "read"]', NOW) == "false"
    assert indexed.answer(b'["alice", "d2", "doc", "read"]', NOW) == "false"
    assert isinstance(engine(model(), "").decider, GuardedEngine)
