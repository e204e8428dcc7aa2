"""Which Casbin models and lines are taken, which are named, and what that means for the others."""

import re

import casbin
import pytest

from extauthz.importing.casbin import import_casbin
from extauthz.importing.outcome import Consequence, Imported

ALLOW = "some(where (p.eft == allow))"
DENY = f"{ALLOW} && !some(where (p.eft == deny))"
BASIC = "r.sub == p.sub && r.obj == p.obj && r.act == p.act"


def imported(
    policy: str,
    matcher: str = BASIC,
    effect: str = DENY,
    extra: str = "",
    fields: str = "sub, obj, act",
    subjects: str = "user",
) -> Imported:
    model = (
        f"[request_definition]\nr = {fields}\n[policy_definition]\np = {fields}, eft\n{extra}"
        f"[policy_effect]\ne = {effect}\n[matchers]\nm = {matcher}\n"
    )
    found = import_casbin(
        ("model.conf", model.encode()), [("policy.csv", policy.encode())], service="s", subjects=subjects
    )
    assert isinstance(found, Imported), found
    return found


def effects(found: Imported) -> list[Consequence]:
    return [each.effect for each in found.not_taken]


ROLES = "[role_definition]\ng = _, _\n"


@pytest.mark.parametrize(
    ("matcher", "effect", "extra"),
    [
        (BASIC, "!some(where (p.eft == deny))", ""),
        (BASIC, "priority(p.eft) || deny", ""),
        ("g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act", "subjectPriority(p.eft) || deny", ROLES),
        ("r.sub == p.sub && globMatch(r.obj, p.obj) && r.act == p.act", DENY, ""),
        ("r.sub == p.sub && regexMatch(r.obj, p.obj) && r.act == p.act", DENY, ""),
        ("keyMatch(r.sub, p.sub) && r.obj == p.obj && r.act == p.act", DENY, ""),
        ("r.sub == p.sub && keyMatch4(r.obj, p.obj) && r.act == p.act", DENY, ""),
        ("r.sub.Age > 18 && r.obj == p.obj && r.act == p.act", DENY, ""),
        ("r.obj == p.obj && r.act == p.act", DENY, ""),
        ("r.sub == p.sub && r.obj != p.obj && r.act == p.act", DENY, ""),
        ("!(r.sub == p.sub) && r.obj == p.obj && r.act == p.act", DENY, ""),
        ("r.sub == p.obj && r.obj == p.obj && r.act == p.act", DENY, ""),
        ("r.sub == p.sub && (r.obj == p.obj || r.act == p.act)", DENY, ""),
        (f"{BASIC} || r.obj == p.obj", DENY, ""),
        (f"{BASIC} && custom(r.sub)", DENY, ""),
        (f"{BASIC} && eval(p.obj)", DENY, ""),
        (f'{BASIC} || r.obj == "public"', DENY, ""),
        (f'{BASIC} || p.sub == "*"', DENY, ""),
        ("g(r.sub, p.sub) && g2(r.obj, p.obj) && r.act == p.act", DENY, f"{ROLES}g2 = _, _\n"),
        ("g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act", DENY, "[role_definition]\ng = _, _, _\n"),
    ],
)
def test_models_without_an_equal_import_nothing_and_name_the_section(
    matcher: str, effect: str, extra: str
) -> None:
    found = imported("p, alice, data, read, allow\n", matcher, effect, extra)
    assert found.refused
    assert found.policies() == {}
    assert all(each.subject.startswith("[") and each.instead for each in found.not_taken)


@pytest.mark.parametrize(
    "line",
    [
        "p, *, data, read, EFT",
        "p, alice, *, read, EFT",
        "p, alice, data, *, EFT",
        'p, "alice", data, read, EFT',
        "p, alice, data, EFT",
        "p, alice, data, read, EFT, more",
        "p, a\u200blice, data, read, EFT",
        f"p, {'a' * 300}, data, read, EFT",
        "q, alice, data, read, EFT",
    ],
)
def test_a_line_that_cannot_be_taken_is_left_out_only_where_it_allows(line: str) -> None:
    allow = imported(f"p, bob, data, read, allow\n{line.replace('EFT', 'allow')}\n", effect=ALLOW)
    assert effects(allow) == [Consequence.LEFT_OUT]
    assert allow.not_taken[0].line == 2
    assert [each.document["sub"] for each in allow.entries["role_rules"]] == ["bob"]
    assert imported(f"p, bob, data, read, allow\n{line.replace('EFT', 'deny')}\n").refused


def test_an_effect_that_casbin_ignores_is_named_and_has_no_rule() -> None:
    found = imported("p, alice, data, read, Deny\np, alice, data, read, deny # always\n")
    assert effects(found) == [Consequence.NO_EFFECT, Consequence.NO_EFFECT]
    assert found.entries["role_rules"] == []
    ignored = imported("p, alice, data, read, deny\n", effect=ALLOW)
    assert effects(ignored) == [Consequence.NO_EFFECT]


@pytest.mark.parametrize("line", ["g, alice, admin, *", "g, alice, *, d", "g, alice, d", "g, *, admin, d"])
def test_role_lines_restrict_where_a_line_denies(line: str) -> None:
    extra, fields = "[role_definition]\ng = _, _, _\n", "sub, dom, obj, act"
    matcher = "g(r.sub, p.sub, r.dom) && r.dom == p.dom && r.obj == p.obj && r.act == p.act"
    allows = f"p, bob, d, data, read, allow\n{line}\n"
    assert effects(imported(allows, matcher, ALLOW, extra, fields)) == [Consequence.LEFT_OUT]
    assert imported(f"p, admin, d, data, read, deny\n{allows}", matcher, DENY, extra, fields).refused


def test_another_definition_of_the_model_is_named() -> None:
    found = imported("p, alice, data, read, allow\np2, alice, x\np2, bob, x\n")
    assert [(each.line, each.subject, each.effect) for each in found.not_taken] == [
        (2, "2 lines p2", Consequence.NO_EFFECT)
    ]


def templates(found: Imported) -> dict[str, list[tuple[object, object]]]:
    return {
        str(each.document["name"]): [
            (rule.document["sub"], rule.document["act"])
            for rule in found.entries["role_rules"]
            if rule.document["obj"] == each.document["name"]
        ]
        for each in found.entries["resources"]
    }


def test_overlapping_patterns_share_the_rules_of_their_intersections() -> None:
    matcher = "r.sub == p.sub && keyMatch2(r.obj, p.obj) && r.act == p.act"
    found = imported(
        "p, alice, /a/:x, GET, allow\np, bob, /:y/b, GET, allow\np, eve, /a/*, PUT, allow\n", matcher
    )
    assert templates(found) == {
        "/a/{x}": [("alice", "GET"), ("eve", "PUT")],
        "/{y}/b": [("bob", "GET")],
        "/a/**": [("eve", "PUT")],
        "/a": [],
        "/a/b": [("alice", "GET"), ("bob", "GET"), ("eve", "PUT")],
    }


@pytest.mark.parametrize(
    ("act", "taken"),
    [
        ("GET", ["GET"]),
        ("^(GET|POST)$", ["GET", "POST"]),
        ("(GET)|(POST)", ["GET", "POST"]),
        ("GET|HEAD", ["GET"]),
        (".*", ["*"]),
        ("^GET|POST$", []),
        ("G.T", []),
        ("[A-Z]+", []),
        ("get", []),
        ("HEAD", []),
    ],
)
def test_methods_of_regular_expressions(act: str, taken: list[str]) -> None:
    matcher = "r.sub == p.sub && keyMatch(r.obj, p.obj) && regexMatch(r.act, p.act)"
    found = imported(f"p, alice, /a, {act}, allow\n", matcher)
    assert [each.document["act"] for each in found.entries["role_rules"]] == taken
    assert effects(found) == ([] if taken else [Consequence.LEFT_OUT])
    assert imported(f"p, alice, /a, {act}, deny\n", matcher).refused is not bool(taken)


OF_METHODS = "r.sub == p.sub && keyMatch(r.obj, p.obj) && "
OF_PATHS = "r.sub == p.sub && r.act == p.act && "


@pytest.mark.parametrize(
    ("matcher", "line", "is_taken"),
    [
        (f"{OF_METHODS}regexMatch(r.act, p.act)", "alice, /x, *", False),
        (f'{OF_METHODS}(regexMatch(r.act, p.act) || p.act == "*")', "alice, /x, *", False),
        (f'{OF_METHODS}(p.act == "*" || regexMatch(r.act, p.act))', "alice, /x, *", True),
        (f"{OF_METHODS}keyMatch(r.act, p.act)", "alice, /x, *", True),
        (f"{OF_PATHS}keyMatch3(r.obj, p.obj)", "alice, *, GET", False),
        (f'{OF_PATHS}(keyMatch3(r.obj, p.obj) || p.obj == "*")', "alice, *, GET", False),
        (f'{OF_PATHS}(p.obj == "*" || keyMatch3(r.obj, p.obj))', "alice, *, GET", True),
        (f"{OF_PATHS}keyMatch2(r.obj, p.obj)", "alice, *, GET", True),
        (f'{OF_PATHS}(r.obj == p.obj || p.obj == "*")', "alice, *, GET", True),
        (f'{OF_PATHS}(p.obj == "*" || r.obj == p.obj)', "alice, *, GET", True),
    ],
)
def test_a_star_is_a_wildcard_only_where_pycasbin_allows_with_it(
    matcher: str, line: str, is_taken: bool
) -> None:
    found = imported(f"p, {line}, allow\n", matcher)
    assert bool(found.entries["role_rules"]) is is_taken
    assert effects(found) == ([] if is_taken else [Consequence.LEFT_OUT])
    denied = imported(f"p, {line}, deny\n", matcher)
    assert denied.refused is not is_taken
    model = (
        "[request_definition]\nr = sub, obj, act\n[policy_definition]\np = sub, obj, act, eft\n"
        f"[policy_effect]\ne = {DENY}\n[matchers]\nm = {matcher}\n"
    )
    enforcer = casbin.Enforcer(casbin.Enforcer.new_model(text=model))
    enforcer.add_policy(*line.split(", "), "allow")
    if is_taken:
        assert enforcer.enforce("alice", "/x", "GET")
    else:
        with pytest.raises(re.error):
            enforcer.enforce("alice", "/x", "GET")


def test_a_deny_of_longer_methods_is_not_narrowed_where_every_method_is_allowed() -> None:
    matcher = "r.sub == p.sub && keyMatch(r.obj, p.obj) && regexMatch(r.act, p.act)"
    assert imported("p, alice, /a, GET, deny\np, alice, /*, .*, allow\n", matcher).refused
    assert not imported("p, alice, /a, ^GET$, deny\np, alice, /*, .*, allow\n", matcher).refused


def test_a_superuser_of_the_matcher_is_allowed_or_denied_everything_as_in_casbin() -> None:
    matcher = f'{BASIC} || r.sub == "root"'
    rules = imported("p, alice, data, read, allow\n", matcher).entries["role_rules"]
    assert {"sub": "root", "sub_kind": "user", "obj": "*", "effect": "allow"}.items() <= rules[
        -1
    ].document.items()
    rules = imported("p, alice, data, read, deny\np, root, data, read, allow\n", matcher).entries[
        "role_rules"
    ]
    assert {"sub": "root", "obj": "*", "effect": "deny"}.items() <= rules[-1].document.items()


def test_a_superuser_that_is_a_role_of_others_is_not_one_of_theirs() -> None:
    matcher = 'g(r.sub, p.sub) && r.obj == p.obj && r.act == p.act || r.sub == "root"'
    lines = "p, alice, data, read, allow\ng, alice, root\n"
    found = imported(lines, matcher, extra=ROLES, subjects="role")
    assert effects(found) == [Consequence.LEFT_OUT]
    assert [rule.document["sub"] for rule in found.entries["role_rules"]] == ["alice"]
    denied = imported(f"p, eve, data, read, deny\n{lines}", matcher, extra=ROLES, subjects="role")
    assert effects(denied) == [Consequence.ALLOWS_LESS]
    assert effects(imported(lines, matcher, extra=ROLES)) == []


def test_many_lines_are_taken_without_cases() -> None:
    lines = "".join(f"p, user{number % 100}, data{number}, read, allow\n" for number in range(5_000))
    found = imported(lines)
    assert len(found.entries["role_rules"]) == 5_000
    assert found.not_taken == []
    assert found.cases == []
