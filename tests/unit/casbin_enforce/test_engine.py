"""`extauthz casbin enforce`: pycasbin's traps end in a deny or an error."""

import time

import pytest

from extauthz.casbin_enforce.engine import FileInvalid, load_engine
from extauthz.casbin_enforce.functions import PATTERN_FUNCTIONS, Undecided
from extauthz.shipped import shipped
from tests.casbin_models import NOW, PRIORITY, RBAC, SUBJECT_PRIORITY, WITH_EFFECT, ask, engine, model


def test_an_unknown_effect_counts_as_a_deny_of_what_it_matches_only() -> None:
    policy = "p, alice, data1, read, allow\np, alice, data1, read, Deny\np, bob, data1, read, allow"
    assert ask(model(**WITH_EFFECT), policy, "alice", "data1", "read").startswith("error: policy line 2")
    assert ask(model(**WITH_EFFECT), policy, "bob", "data1", "read") == "true"
    assert ask(model(**WITH_EFFECT), policy, "carol", "data1", "read") == "false"
    shape = shipped("policies/model.conf").read_text()
    policy = "p, alice, d, data1, read, allow\np, *, d, data1, *, Deny\np, bob, d, data2, read, allow"
    assert ask(shape, policy, "alice", "d", "data1", "read").startswith("error: policy line 2")
    assert ask(shape, policy, "bob", "d", "data2", "read") == "true"


def test_an_empty_policy_allows_no_request_and_an_empty_request_is_an_error() -> None:
    assert ask(model(), "", "", "", "").startswith("error: ")
    assert ask(model(), "# nothing\n", "alice", "data1", "read") == "false"
    assert ask(model("r.sub != p.sub"), "", "alice", "data1", "read") == "false"
    assert ask(model("keyMatch(r.obj, p.obj) || r.act != p.act"), "", "a", "b", "c") == "false"


@pytest.mark.parametrize("value", ["", None])
def test_an_empty_value_is_refused(value: object) -> None:
    assert ask(model("r.obj == p.obj"), "p, a, o, r", value, "o", "r").startswith("error: ")


@pytest.mark.parametrize(
    "row",
    [
        "p, bob, data1",
        "p, bob, data1, write, deny, more",
        "p, bob, , write, deny",
        "p, , data2, read, deny",
        "p, bob, data1, write, ",
        "p, bob), data1, write, allow",
    ],
)
def test_a_damaged_row_denies_only_the_principals_it_may_apply_to(row: str) -> None:
    policy = f"p, alice, data1, read, allow\n{row}\n"
    loaded = engine(model(**WITH_EFFECT), policy)
    assert loaded.complaints[0].startswith("policy line 2 ")
    blamed = loaded.answer(b'["alice", "data1", "read"]', NOW)
    assert blamed == ("true" if ")" not in row else blamed)
    assert blamed == "true" or blamed.startswith("error: policy line 2")
    assert loaded.answer(b'["carol", "data1", "read"]', NOW) == "false"


@pytest.mark.parametrize(
    "row",
    [
        "p, alice, data1, read",
        "p, alice, data1, deny",
        "p, data1, read, deny",
        "p, alice, data1, deny, read, deny",
        "p, , data1, read, deny",
        "p, alice, data1, read, DENY",
        "p, alice, data1, read, deny, because",
        "p, alice, data, data1, read, deny",
        "deny, alice, data1, read",
        "P, alice, data1, read, deny",
        ", alice, data1, read, deny",
        "p, alice], data1, read, deny",
        "\ufeffp, alice, data1, read, deny",
    ],
)
def test_a_row_that_may_have_been_a_deny_is_not_lost(row: str) -> None:
    policy = f"p, alice, data1, read, allow\n{row}\n"
    assert ask(model(**WITH_EFFECT), policy, "alice", "data1", "read").startswith("error: policy line 2")


@pytest.mark.parametrize(
    "row", ["p, bob, data1", "p, bob, , read", "p, bob, data1, read, x", "p, b)ob, d, r"]
)
def test_a_damaged_row_without_effect_only_removes_an_allow(row: str) -> None:
    policy = f"{row}\np, alice, data1, read\n"
    assert ask(model(), policy, "alice", "data1", "read") == "true"
    assert ask(model(), policy, "bob", "data1", "read") == "false"


def test_a_role_line_that_is_too_long_or_short_gives_no_role() -> None:
    """pycasbin cuts the domain off, and the role holds everywhere."""
    definition = model(RBAC, roles="g = _, _")
    for line in ("g, alice, admin, domain1", "g, alice", "g, alice, "):
        assert ask(definition, f"p, admin, d, r\n{line}", "alice", "d", "r") == "false"
        assert ask(definition, f"p, admin, d, r\n{line}", "admin", "d", "r") == "true"


def test_a_role_line_that_is_refused_may_have_been_what_a_deny_needs() -> None:
    definition = model(RBAC, roles="g = _, _", **WITH_EFFECT)
    policy = "p, alice, d, r, allow\np, banned, d, r, deny\ng, alice"
    assert ask(definition, policy, "alice", "d", "r").startswith("error: policy line 3")
    negated = model(f"!g(r.sub, p.sub) && {RBAC.partition(' && ')[2]}", roles="g = _, _")
    assert ask(negated, "p, banned, d, r\ng, alice", "alice", "d", "r").startswith("error: policy line 2")


SUB_RULE = model("eval(p.sub_rule) && r.obj == p.obj && r.act == p.act", policy="sub_rule, obj, act")


@pytest.mark.parametrize(
    "rule",
    [
        "True) or (True",
        "(True) or (True",
        "True #",
        "True)#",
        "True; True",
        "r.sub.Age = 1",
        "True or",
        'True or "',
        "True \\",
        "eval(p.sub_rule)",
        "eval(r.sub)",
        "lambda: True",
        "(x := True)",
        "p.nothing",
        "keyMatch",
        "rand() < 2",
        "__import__('os')",
        "''.__class__",
        "r.sub.keys",
        "'yes'",
        "1",
    ],
)
def test_a_sub_rule_cannot_leave_its_brackets(rule: str) -> None:
    policy = f"p, {rule}, data1, read\np, r.sub.Age > 18, data2, read"
    for target in ("data1", "other"):
        assert ask(SUB_RULE, policy, {"Age": 30}, target, "write") != "true"
        assert ask(SUB_RULE, policy, {"Age": 30}, "other", "read") != "true"
    assert ask(SUB_RULE, policy, {"Age": 30}, "data1", "read") != "true"
    assert ask(SUB_RULE, policy, {"Age": 30}, "data2", "read") == "true"


def test_a_request_without_the_attribute_does_not_raise_for_every_row() -> None:
    policy = "p, r.sub.Age > 18, data1, read\np, r.sub.Name == 'alice', data1, read"
    assert ask(SUB_RULE, policy, {"Name": "alice"}, "data1", "read") == "true"
    assert ask(SUB_RULE, policy, {"Name": "bob"}, "data1", "read").startswith("error: policy line 1")
    assert ask(SUB_RULE, policy, {"Age": "99"}, "data1", "read").startswith("error: ")
    assert ask(SUB_RULE, policy, "alice", "data1", "read").startswith("error: ")


@pytest.mark.parametrize("attribute", ["title", "count", "keys", "pop", "__class__"])
def test_no_method_passes_for_an_attribute(attribute: str) -> None:
    definition = model(f"r.sub.{attribute} && r.obj == p.obj && r.act == p.act")
    for subject in ("alice", {"Name": "alice"}, ["alice"], 3):
        assert ask(definition, "p, x, d, r", subject, "d", "r").startswith("error: ")


def test_nulls_and_missing_values_are_not_equal() -> None:
    definition = model("r.sub.Owner == r.obj.Owner")
    assert ask(definition, "", {"Owner": None}, {"Owner": None}, "r") == "false"
    assert ask(definition, "", {}, {}, "r") == "false"
    assert ask(definition, "", {"Owner": "a"}, {"Owner": "a"}, "r") == "true"


def test_a_deny_wins_over_an_allow_of_equal_priority() -> None:
    definition = model(effect=PRIORITY, policy="priority, sub, obj, act, eft")
    rows = ["p, 1, alice, d, r, allow", "p, 1, alice, d, r, deny"]
    for order in (rows, rows[::-1]):
        assert ask(definition, "\n".join(order), "alice", "d", "r") == "false"
    assert ask(definition, "p, 9, alice, d, r, allow\np, 10, alice, d, r, deny", "alice", "d", "r") == "true"
    assert ask(definition, "p, x, alice, d, r, deny\np, 1, alice, d, r, allow", "alice", "d", "r") == (
        "error: policy line 1 does not rank among the others"
    )


def test_a_deny_wins_among_roles_of_equal_height() -> None:
    definition = model(RBAC, roles="g = _, _", effect=SUBJECT_PRIORITY, policy="sub, obj, act, eft")
    rows = "p, editor, d, r, allow\np, banned, d, r, deny\ng, alice, editor\ng, alice, banned\n"
    assert ask(definition, rows, "alice", "d", "r") == "false"
    assert ask(definition, f"{rows}g, editor, alice", "alice", "d", "r") != "true"


@pytest.mark.parametrize(
    ("function", "text", "pattern"),
    [
        ("keyMatch2", "/axb/1", "/a.b/:id"),
        ("keyMatch2", "/foo/1\n", "/foo/:id"),
        ("keyMatch2", "/foo\n", "/foo"),
        ("keyMatch2", "/foo", "/fo(o|x)"),
        ("keyMatch3", "/axb/1", "/a.b/{id}"),
        ("keyMatch4", "/axb/1", "/a.b/{id}"),
        ("keyMatch5", "/axb?y=1", "/a.b"),
        ("keyMatch5", "/a\n", "/{b}"),
        ("regexMatch", "/public-secret", "/public"),
        ("regexMatch", "/x/public", "/public"),
        ("regexMatch", "GET\n", "^GET$"),
        ("regexMatch", "aa", r"(a)\1"),
        ("regexMatch", "a", "("),
        ("globMatch", "/foo/.hidden", "/foo/*"),
        ("globMatch", "/foo/bar/", "/foo/*"),
        ("ipMatch", "10.0.0.1", "not an address"),
    ],
)
def test_where_readers_differ_an_allow_does_not_match_and_a_deny_does(
    function: str, text: str, pattern: str
) -> None:
    with pytest.raises(Undecided):
        PATTERN_FUNCTIONS[function](text, pattern)
    definition = model(f"{function}(r.obj, p.obj) && r.sub == p.sub", **WITH_EFFECT)
    assert ask(definition, f"p, alice, {pattern}, x, allow", "alice", text, "x") != "true"
    allowed = model(f"({function}(r.obj, p.obj) || p.obj == 'all') && r.sub == p.sub", **WITH_EFFECT)
    policy = f"p, alice, all, x, allow\np, alice, {pattern}, x, deny"
    assert ask(allowed, policy, "alice", text, "x").startswith("error: ")


@pytest.mark.parametrize(
    ("function", "text", "pattern", "expected"),
    [
        ("keyMatch", "/foo/bar", "/foo/*", True),
        ("keyMatch", "/foobar", "/foo/*", False),
        ("keyMatch2", "/foo/bar", "/foo/*", True),
        ("keyMatch2", "/resource1", "/:resource", True),
        ("keyMatch2", "/a.b/myid", "/a.b/:id", True),
        ("keyMatch2", "/myid/using/a/b", "/:id/using/:resId", False),
        ("keyMatch2", "anything", "*", True),
        ("keyMatch3", "/proxy/myid/res", "/proxy/{id}/*", True),
        ("keyMatch3", "/proxy/", "/proxy/{id}", False),
        ("keyMatch4", "/parent/123/child/123", "/parent/{id}/child/{id}", True),
        ("keyMatch4", "/parent/123/child/456", "/parent/{id}/child/{id}", False),
        ("keyMatch4", "/parent/123/child/456", "/parent/{id}/child/{another_id}", True),
        ("keyMatch5", "/parent/child1?status=1&type=2", "/parent/child1", True),
        ("keyMatch5", "/parent/child1?status=1", "/parent/*", True),
        ("keyMatch5", "/parent/child1?status=1", "/other/*", False),
        ("regexMatch", "/topic/edit/123", "/topic/edit/[0-9]+", True),
        ("regexMatch", "/topic/edit/abc", "/topic/edit/[0-9]+", False),
        ("ipMatch", "192.168.2.123", "192.168.2.0/24", True),
        ("ipMatch", "2001:db8::1", "192.168.2.0/24", False),
        ("globMatch", "/foo/bar", "/foo/*", True),
        ("globMatch", "/foo/a/b", "/foo/*", False),
        ("globMatch", "/foo/a/b", "/foo/**", True),
        ("globMatch", "/foo/b", "/foo/{a,b}", True),
        ("globMatch", "/foo/b", "/foo/[!a-c]", False),
    ],
)
def test_calls_that_all_readers_agree_on_are_decided(
    function: str, text: str, pattern: str, *, expected: bool
) -> None:
    assert PATTERN_FUNCTIONS[function](text, pattern) is expected


def test_string_literals_stay_what_they_are() -> None:
    """pycasbin rewrites `&&`, `!`, `p.` and cuts at `#` inside of them."""
    for literal in ("a!b", "a&&b", "a||b", "p.sub", "a#b"):
        definition = model(f'r.act == "{literal}" && r.sub == p.sub')
        assert ask(definition, "p, alice, o, a", "alice", "o", literal) == "true"
        assert ask(definition, "p, alice, o, a", "alice", "o", "other") == "false"


@pytest.mark.parametrize(
    "matcher",
    ["r.sub = p.sub && r.obj == p.obj", "r.obj == p.obj; r.sub == p.sub", "r.sub == p.sub &&", "(r.sub", ""],
)
def test_a_matcher_that_is_not_one_expression_is_refused_as_a_whole(matcher: str) -> None:
    refused = load_engine(model(matcher), b"p, alice, data1, read")
    assert isinstance(refused, FileInvalid)
    assert refused.part == "model"


@pytest.mark.parametrize(
    "definition",
    ["", "[matchers]\nm = r.sub == p.sub", "no model", model(effect="some(where (p.eft == maybe))"),
     model(RBAC, roles="g = _, _, _, _"), model(RBAC, roles="g = _"), "[request_definition\nr = sub"],
)  # fmt: skip
def test_matchers_that_pycasbin_cannot_run_are_refused(definition: str) -> None:
    refused = load_engine(definition, b"p, alice, data1, read")
    assert isinstance(refused, FileInvalid)
    assert "\n" not in refused.message


@pytest.mark.parametrize(
    ("definition", "policy", "request_"),
    [
        (model("regexMatch(r.obj, p.obj)"), "p, a, (a+)+$, r", ["x", "a" * 50_000 + "!", "r"]),
        (model("regexMatch(r.obj, p.obj)"), "p, a, (x{1,999}){1,999}, r", ["x", "x" * 5_000, "r"]),
        (model("globMatch(r.obj, p.obj)"), f"p, a, {'*a' * 60}*b, r", ["x", "a" * 10_000 + "c", "r"]),
        (model("globMatch(r.obj, p.obj)"), f"p, a, {'**/a/' * 40}b, r", ["x", "a/" * 2_000 + "c", "r"]),
        (model("globMatch(r.obj, p.obj)"), f"p, a, {'{a,b}' * 40}, r", ["x", "a" * 40 + "c", "r"]),
        (model("keyMatch4(r.obj, p.obj)"), f"p, a, {'/{x}/*' * 30}, r", ["x", "/a" * 5_000 + "\n", "r"]),
        (SUB_RULE, "p, 9**9**9 > 1, d, r", ["x", "d", "r"]),
        (SUB_RULE, "p, 'a' * 10**9 == 'b', d, r", ["x", "d", "r"]),
        (SUB_RULE, "p, ('a' * 99999).replace('a', 'a' * 99999) == 'b', d, r", ["x", "d", "r"]),
        (SUB_RULE, "p, '%999999999d' % 1 == 'b', d, r", ["x", "d", "r"]),
        (SUB_RULE, "p, f'{1:>999999999}' == 'b', d, r", ["x", "d", "r"]),
        (SUB_RULE, "p, 1 << 10**9 > 1, d, r", ["x", "d", "r"]),
        (SUB_RULE, f"p, {'(' * 150}1 == 2{')' * 150}, d, r", ["x", "d", "r"]),
        (SUB_RULE, f"p, {'not ' * 3000}True, d, r", ["x", "d", "r"]),
        (SUB_RULE, f"p, {'[x for x in ' * 30}[1]{']' * 30}, d, r", ["x", "d", "r"]),
        (SUB_RULE, "p, " + "[x " + "for x in [1]*99 " * 20 + "], d, r", ["x", "d", "r"]),
    ],
)  # fmt: skip
def test_no_policy_and_no_request_takes_long(definition: str, policy: str, request_: list[str]) -> None:
    started = time.perf_counter()
    assert ask(definition, policy, *request_) != "true"
    assert time.perf_counter() - started < 2


CHAIN = "\n".join(f"g, r{number}, r{number + 1}" for number in range(5_000))
FAR = "'r0' inherits over more links than Casbin follows"


def test_long_chains_of_roles_end_where_pycasbins_do_and_lose_no_deny() -> None:
    definition = model(RBAC, roles="g = _, _", **WITH_EFFECT)
    assert ask(definition, f"p, r9, d, r, allow\n{CHAIN}", "r0", "d", "r") == "true"
    assert ask(definition, f"p, r10, d, r, allow\n{CHAIN}", "r0", "d", "r") == "false"
    assert ask(definition, f"p, r0, d, r, allow\np, r9, d, r, deny\n{CHAIN}", "r0", "d", "r") == "false"
    assert ask(definition, f"p, r10, d, r, deny\np, r0, d, r, allow\n{CHAIN}", "r0", "d", "r") == (
        f"error: policy line 1: {FAR}"
    )
    # What none of the far roles would change is decided.
    assert ask(definition, f"p, r0, d, r, allow\np, r10, d, w, deny\n{CHAIN}", "r0", "d", "r") == "true"


def test_not_having_a_role_means_at_any_distance() -> None:
    definition = model("!g(r.sub, 'r10') && r.obj == p.obj", roles="g = _, _")
    assert ask(definition, f"p, x, d, r\n{CHAIN}", "r0", "d", "r") == f"error: policy line 1: {FAR}"
    assert ask(definition, f"p, x, d, r\n{CHAIN}", "r1", "d", "r") == "false"
    assert ask(definition, f"p, x, d, r\n{CHAIN}", "r11", "d", "r") == "true"


def test_the_index_loses_no_deny_of_a_far_role() -> None:
    chain = CHAIN.replace("\n", ", d1\n") + ", d1\n"
    shape = shipped("policies/model.conf").read_text()
    allow, deny = "p, r0, *, d, r, allow\n", "p, {}, *, d, r, deny\n"
    for role, expected in (("r9", "false"), ("r10", f"error: {FAR}"), ("r4999", f"error: {FAR}")):
        assert ask(shape, allow + deny.format(role) + chain, "r0", "d1", "d", "r") == expected
    assert ask(shape, allow + deny.format("r10") + chain, "r0", "d2", "d", "r") == "true"
    assert ask(shape, allow + chain, "r0", "d1", "d", "r") == "true"
    assert ask(shape, "p, r10, d1, d, r, allow\n" + chain, "r0", "d1", "d", "r") == "false"
