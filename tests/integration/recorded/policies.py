"""Attribute policies with a wrong meaning: trees, conditions, expressions, priorities, domains, patches."""

from collections.abc import Iterator, Mapping

from tests.integration.recorded.documents import ALWAYS, CONDITION, POLICY, ROUTE, Document, nested
from tests.integration.recorded.sent import POLICIES, RESOURCES, Sent, sent

_TREES: Mapping[str, object] = {
    "no type": {"attribute": "user.id"},
    "type of another case": {"type": "and", "conditions": [ALWAYS]},
    "type list": {"type": ["AND"], "conditions": [ALWAYS]},
    "type null": {"type": None},
    "unknown type": {"type": "XOR", "conditions": [ALWAYS]},
    "AND without conditions": {"type": "AND"},
    "AND of none": {"type": "AND", "conditions": []},
    "AND of an object": {"type": "AND", "conditions": ALWAYS},
    "AND of wrong entries": {"type": "AND", "conditions": [None, 1, "x", [], {}]},
    "AND with condition": {"type": "AND", "condition": ALWAYS},
    "OR with an unknown member": {"type": "OR", "conditions": [ALWAYS], "extra": 1},
    "NOT without condition": {"type": "NOT"},
    "NOT of a list": {"type": "NOT", "condition": [ALWAYS]},
    "NOT of null": {"type": "NOT", "condition": None},
    "NOT with conditions": {"type": "NOT", "conditions": [ALWAYS]},
    "ALWAYS with a member": {"type": "ALWAYS", "value": 1},
    "NOT ALWAYS": {"type": "NOT", "condition": ALWAYS},
    "deep problem": nested(10, {"type": "CONDITION", "attribute": "x", "operator": "?", "value": {}}),
    "problems at two depths": {
        "type": "AND", "conditions": [{"type": "OR", "conditions": [{}]}, {"type": "NOT", "condition": 7}],
    },
    "31 levels below": nested(31),
    "32 levels below": nested(32),
    "33 levels below": nested(33),
    "38 levels below": nested(38),
    "60 levels below": nested(60),
    "31 levels of NOT": nested(31, kind="NOT"),
    "32 levels of NOT": nested(32, kind="NOT"),
    "70 levels of NOT": nested(70, kind="NOT"),
    "999 children": {"type": "OR", "conditions": [ALWAYS] * 999},
    "1000 children": {"type": "OR", "conditions": [ALWAYS] * 1000},
    "1001 wrong children": {"type": "OR", "conditions": [{}] * 1001},
    "999 wrong children": {"type": "OR", "conditions": [{}] * 999},
    "text": "true",
    "list": [ALWAYS],
}  # fmt: skip
_CONDITIONS: Mapping[str, Document] = {
    "no attribute": {"attribute": None},
    "empty attribute": {"attribute": ""},
    "attribute without a family": {"attribute": "department"},
    "unknown family": {"attribute": "subject.id"},
    "family alone": {"attribute": "user"},
    "empty part": {"attribute": "user.a..b"},
    "trailing dot": {"attribute": "user.a."},
    "17 parts": {"attribute": "user." + ".".join("a" * 17)},
    "unnormalised attribute": {"attribute": "user.e\u0301"},
    "attribute of 257": {"attribute": "user." + "a" * 252},
    "header not listed": {"attribute": "request.header.x-secret"},
    "header listed": {"attribute": "request.header.x-channel"},
    "header of another case": {"attribute": "request.header.X-Channel"},
    "header credential": {"attribute": "request.header.authorization"},
    "unknown request attribute": {"attribute": "request.body"},
    "unknown env attribute": {"attribute": "env.minute"},
    "resource parameter": {"attribute": "resource.owner"},
    "resource parameters": {"attribute": "resource.parameters"},
    "query": {"attribute": "request.query.a"},
    "unknown operator": {"operator": "like"},
    "operator of another case": {"operator": "EQ"},
    "operator symbol": {"operator": "=="},
    "in text": {"operator": "in", "value": "x"},
    "in none": {"operator": "in", "value": []},
    "in null": {"operator": "in", "value": [None]},
    "in mixed": {"operator": "in", "value": ["x", 1, True]},
    "in nested": {"operator": "in", "value": [["x"]]},
    "in objects": {"operator": "in", "value": [{"attribute": "user.id"}]},
    "in attribute": {"operator": "in", "value": {"attribute": "resource.owners"}},
    "eq list": {"operator": "eq", "value": ["x"]},
    "eq null": {"operator": "eq", "value": None},
    "eq object": {"operator": "eq", "value": {"a": 1}},
    "eq attribute with more": {"operator": "eq", "value": {"attribute": "user.id", "x": 1}},
    "eq unknown attribute": {"operator": "eq", "value": {"attribute": "nothing.at.all"}},
    "eq itself": {"operator": "eq", "value": {"attribute": "user.department"}},
    "eq large": {"operator": "eq", "value": 10**30},
    "gt text": {"operator": "gt", "value": "x"},
    "gt boolean": {"operator": "gt", "value": True},
    "gt list": {"operator": "gt", "value": [1]},
    "gt number": {"operator": "gt", "value": 1},
    "lt time": {"attribute": "env.time", "operator": "lt", "value": "2099-01-31T08:00:00Z"},
    "lt no time": {"attribute": "env.time", "operator": "lt", "value": "tomorrow"},
    "lt time without a zone": {"attribute": "env.time", "operator": "lt", "value": "2099-01-31T08:00:00"},
    "hour as text": {"attribute": "env.hour", "operator": "eq", "value": "8"},
    "hour 24": {"attribute": "env.hour", "operator": "eq", "value": 24},
    "weekday 0": {"attribute": "env.weekday", "operator": "in", "value": [0, 8]},
    "cidr": {"attribute": "request.source.address", "operator": "cidr", "value": ["10.0.0.0/8"]},
    "cidr with host bits": {"attribute": "request.source.address", "operator": "cidr", "value": "10.1.2.3/8"},
    "cidr word": {"attribute": "request.source.address", "operator": "cidr", "value": "localnet"},
    "cidr empty": {"attribute": "request.source.address", "operator": "cidr", "value": []},
    "cidr attribute": {"operator": "cidr", "value": {"attribute": "user.net"}},
    "cidr on text": {"attribute": "user.ip", "operator": "cidr", "value": "10.0.0.0/8"},
    "address no address": {"attribute": "request.source.address", "operator": "eq", "value": "example.com"},
    "matches": {"operator": "matches", "value": "^fin"},
    "matches open group": {"operator": "matches", "value": "("},
    "matches look-ahead": {"operator": "matches", "value": "(?=x)"},
    "matches back reference": {"operator": "matches", "value": r"(a)\1"},
    "matches empty": {"operator": "matches", "value": ""},
    "matches 513": {"operator": "matches", "value": "a" * 513},
    "matches many states": {"operator": "matches", "value": "((a{100}){100}){100}"},
    "matches number": {"operator": "matches", "value": 1},
    "matches attribute": {"operator": "matches", "value": {"attribute": "user.pattern"}},
    "exists text": {"operator": "exists", "value": "true"},
    "exists 1": {"operator": "exists", "value": 1},
    "exists": {"operator": "exists", "value": True},
    "contains number": {"operator": "contains", "value": 1},
    "startsWith list": {"operator": "startsWith", "value": ["x"]},
    "has list": {"attribute": "user.roles", "operator": "has", "value": ["finance"]},
    "hasAny text": {"attribute": "user.roles", "operator": "hasAny", "value": "finance"},
    "hasAll none": {"attribute": "user.roles", "operator": "hasAll", "value": []},
    "roles eq": {"attribute": "user.roles", "operator": "eq", "value": "finance"},
    "method lower case": {"attribute": "request.method", "operator": "eq", "value": "get"},
    "unknown member": {"negate": True},
    "three problems": {"attribute": "x", "operator": "?", "value": None, "more": 1},
}
_EXPRESSIONS: tuple[object, ...] = (
    'r.sub.department == "finance"', "true", "", " ", "r.sub", "r.sub.id ==", "== 1", "(", "r.sub.id == 1)",
    'r.sub.id == "x" && ', 'r.sub.id == "x" and r.sub.id == "y"', "eval(p.sub_rule)", "__import__('os')",
    "r.sub.id in ('a', 'b')", "keyMatch(r.obj, p.obj)", "regexMatch(r.sub.id, '(')", "1 == 1", "!r.sub.id",
    "!(" * 40 + 'r.sub.id == "x"' + ")" * 40, "r.sub.id == 'x' || " * 1200 + "r.sub.id == 'y'", "x" * 9000,
    "r.sub.id == \u201cx\u201d", "r.sub.id == 'x' ; drop", "r.sub.id == 'a\0b'", "r.env.hour >= 8",
    "r.sub.age > 1e400", "r.sub.age > 0x10", "r.sub.age > -1", "r.sub.age + 1 > 2", "user.id == 'x'",
    {"type": "ALWAYS"}, None, 1, [], ["true"],
)  # fmt: skip
_PRIORITIES: tuple[tuple[str, object], ...] = (
    ("allow", -1001), ("allow", -1000), ("allow", 1), ("allow", 1000), ("allow", 1001), ("allow", 2**31),
    ("deny", -1001), ("deny", 1000), ("deny", 1001), ("deny", 2000), ("deny", 1_000_000), ("deny", 10**19),
    ("allow", True), ("deny", 0.0), ("deny", "1"), ("permit", 1001),
)  # fmt: skip


def policies() -> Iterator[Sent]:
    """Yield all of them."""
    for number, (name, tree) in enumerate(_TREES.items()):
        yield sent(f"tree: {name}", "POST", POLICIES, dict(POLICY) | {"rule_data": tree})
        if number < 12:
            yield sent(f"tree: {name}", "PATCH", f"{POLICIES}/@@policy for patch@@", {"rule_data": tree})
    for name, changes in _CONDITIONS.items():
        rule_data = dict(CONDITION) | changes
        yield sent(f"condition: {name}", "POST", POLICIES, dict(POLICY) | {"rule_data": rule_data})
    for number, expression in enumerate(_EXPRESSIONS):
        policy = dict(POLICY) | {"format": "casbin", "rule_data": expression}
        yield sent(f"expression {number}: {expression!r:.40}", "POST", POLICIES, policy)
    yield sent("expression as a tree", "POST", POLICIES, dict(POLICY) | {"rule_data": "true"})
    for caller in ("tenant", "emea"):
        for effect, priority in _PRIORITIES:
            policy = dict(POLICY) | {"effect": effect, "priority": priority}
            yield sent(f"{caller}: {effect} at {priority!r}", "POST", POLICIES, policy, caller=caller)
        for domain in ("emea", "apac", "*", "", None, 7):
            for also in ({}, {"name": 7, "extra": 1}):
                policy = dict(POLICY) | {"domain": domain} | also
                name = f"{caller}: domain {domain!r}{' and problems' if also else ''}"
                yield sent(name, "POST", POLICIES, policy, caller=caller)
    for name, patch in (
        ("empty", {}), ("null name", {"name": None}), ("null of an unknown member", {"nothing": None}),
        ("null of everything", dict.fromkeys(POLICY)), ("id", {"id": "x"}), ("version", {"version": 9}),
        ("deleted_at", {"deleted_at": "x"}), ("merge into the tree", {"rule_data": {"value": "sales"}}),
        ("null in the tree", {"rule_data": {"operator": None}}), ("unknown in the tree", {"rule_data": {"x": 1}}),
        ("notation only", {"format": "casbin"}), ("effect only", {"effect": "deny"}), ("list", []),
        ("notation and text", {"format": "casbin", "rule_data": "r.sub.id == 'x'"}), ("tree text", {"rule_data": ""}),
        ("back to a tree", {"format": "json", "rule_data": CONDITION}), ("domain", {"domain": "apac"}),
    ):  # fmt: skip
        yield sent(f"patch: {name}", "PATCH", f"{POLICIES}/@@policy for patch@@", patch)
    patches: tuple[tuple[str, object], ...] = (
        ("empty", {}), ("name", {"name": "other"}), ("the same name", {"name": "patch"}), ("null name", {"name": None}),
        ("null of an unknown member", {"nothing": None}), ("null routes", {"routes": None}), ("id", {"id": "x"}),
        ("null service", {"serviceName": None}), ("null display name", {"displayName": None}), ("list", []),
        ("routes object", {"routes": {"0": {}}}), ("route with null", {"routes": [dict(ROUTE) | {"host": None}]}),
        ("createdAt", {"createdAt": "x"}), ("service asterisk", {"serviceName": "*", "x": None, "routes": [1]}),
    )  # fmt: skip
    for name, change in patches:
        yield sent(f"patch: {name}", "PATCH", f"{RESOURCES}/@@resource for patch@@", change)
