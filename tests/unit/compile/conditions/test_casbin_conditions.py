"""`format: casbin`: the meaning of matcher expressions, and the place of each refusal."""

from decimal import Decimal

import pytest

from extauthz.compile.conditions.casbin_conditions import parse_matcher
from extauthz.domain.policy import All, Always, AnyOf, AttributeName, Condition, Node, Not
from extauthz.domain.problem import Problem


def read(source: object) -> Node | list[Problem]:
    problems: list[Problem] = []
    node = parse_matcher(source, "/rule_data", problems, condition_headers=frozenset({"x-team"}))
    assert (node is None) == bool(problems)
    return problems if node is None else node


@pytest.mark.parametrize(
    ("source", "node"),
    [
        ('user.department == "finance"', Condition("user.department", "eq", "finance")),
        ("user.level >= 3", Condition("user.level", "gte", 3)),
        ("3 < user.level", Condition("user.level", "gt", 3)),
        ("user.rate != 0.10", Condition("user.rate", "neq", Decimal("0.10"))),
        ("user.active == true", Condition("user.active", "eq", True)),
        ("user.id == resource.owner", Condition("user.id", "eq", AttributeName("resource.owner"))),
        ('user.department in ("a", "b")', Condition("user.department", "in", ("a", "b"))),
        ('user.department in ("a",)', Condition("user.department", "in", ("a",))),
        ('"admin" in user.roles', Condition("user.roles", "has", "admin")),
        ("time(user.until) > env.time", Condition("time(user.until)", "gt", AttributeName("env.time"))),
        ("env.time >= time(user.until)", Condition("env.time", "gte", AttributeName("time(user.until)"))),
        (
            '"2026-01-31T08:00:00Z" < time(user.until)',
            Condition("time(user.until)", "gt", "2026-01-31T08:00:00Z"),
        ),
        ('ip( request.query.from ) == "10.0.0.1"', Condition("ip(request.query.from)", "eq", "10.0.0.1")),
        ('"read" in words(user.scope)', Condition("words(user.scope)", "has", "read")),
        ("user.team in words(user.teams)", Condition("user.team", "in", AttributeName("words(user.teams)"))),
        ('"a" in user["cognito:groups"]', Condition("user.cognito:groups", "has", "a")),
        ("user [ 'https://a.example/x' ] == 1", Condition("user.https://a.example/x", "eq", 1)),
        ('user.realm["a b"]["c\\"d"] == 1', Condition('user.realm.a b.c"d', "eq", 1)),
        (
            'words(user["x:y"]) == words(user.z)',
            Condition("words(user.x:y)", "eq", AttributeName("words(user.z)")),
        ),
        ("user.team in user.teams", Condition("user.team", "in", AttributeName("user.teams"))),
        ("request.headers.x-team == 'a'", Condition("request.headers.x-team", "eq", "a")),
        (" \tuser.level\r\n== 3 \n", Condition("user.level", "eq", 3)),
        ("user.größe == 3", Condition("user.größe", "eq", 3)),
        ("user.हिन्दी-2 == 3", Condition("user.हिन्दी-2", "eq", 3)),
        # A letter of Unicode 15, which CPython 3.11 does not know as one.
        ("user.\U00011f04 == 3", Condition("user.\U00011f04", "eq", 3)),
        ("true", Always()),
        ("false", Not(Always())),
        ("!(user.level == 1)", Not(Condition("user.level", "eq", 1))),
        (
            "user.a == 1 || user.b == 2 && !(user.c == 3)",
            AnyOf(
                (
                    Condition("user.a", "eq", 1),
                    All((Condition("user.b", "eq", 2), Not(Condition("user.c", "eq", 3)))),
                )
            ),
        ),
        (
            "(user.a == 1 || user.b == 2) && user.c == 3",
            All(
                (
                    AnyOf((Condition("user.a", "eq", 1), Condition("user.b", "eq", 2))),
                    Condition("user.c", "eq", 3),
                )
            ),
        ),
    ],
)
def test_an_expression_means_the_same_as_its_nodes(source: str, node: Node) -> None:
    assert read(source) == node


@pytest.mark.parametrize(
    ("source", "position"),
    [
        ("user.level ==", 13),
        ("user.level = 3", 11),
        ("user.level == 3 &&", 18),
        ("regexMatch(user.id, 'a')", 0),
        ("user.active", 0),
        ("1 == 1", 0),
        ("time(user.until)", 0),
        ("time(user.until, user.x) > env.time", 0),
        ("time('2026-01-31T08:00:00Z') > env.time", 0),
        ("time(time(user.until)) > env.time", 0),
        ("env.time > date(user.until)", 11),
        ("user.x in words(user.roles)", 10),
        ("env.time > time(env.time)", 11),
        ('user["x" == 1', 9),
        ("user[x] == 1", 5),
        ("user[] == 1", 5),
        ('user["x"].y == 1', 9),
        ('user[""] == 1', 0),
        ('user["a\x00"] == 1', 0),
        ("user.level == 3; drop", 15),
        ("user.level + 1 == 3", 11),
        ("(user.level == 3", 16),
        ("user.level == 3)", 15),
        ("eval('1')", 0),
        ("nothing.known == 1", 0),
        ("user.a == 1 && request.headers.cookie == 'x'", 15),
        ("user.level < 'three'", 0),
        ("user.a in ('a', 1)", 0),
        ("user.a in ()", 11),
        ("user.a == __import__", 10),
        ("True) or (True", 4),
        ("user.level == \uff13", 14),
        ("user.level == 1\u0662", 14),
        ("user.level\u00a0== 3", 10),
        ("user.level ==\u20033", 13),
        ("user.level == 3\u3000", 15),
        ("user.le\u0301vel == 3", 0),
        ("user.le\u00a0vel == 3", 7),
        ("user.level\uff1d\uff1d3", 10),
        ("user.level\u2260 3", 10),
        ("user.level == 3\u00e9", 14),
        ("\u00e9 == 3", 0),
        ("", 0),
    ],
)
def test_anything_else_is_refused_with_its_position(source: str, position: int) -> None:
    problems = read(source)

    assert isinstance(problems, list)
    assert problems[0].pointer == "/rule_data"
    assert problems[0].message.startswith(f"at character {position}:")


def test_all_problems_of_an_expression_are_reported_together() -> None:
    problems = read("nothing.a == 1 && nothing.b == 2")

    assert isinstance(problems, list)
    assert len(problems) == 2


@pytest.mark.parametrize("source", [None, 3, {"type": "ALWAYS"}, ["user.a == 1"]])
def test_only_text_is_an_expression(source: object) -> None:
    assert isinstance(read(source), list)


@pytest.mark.parametrize(
    "source",
    [
        "user.a == " + "9" * 5000,
        "(" * 5000 + "true" + ")" * 5000,
        "!" * 5000 + "(",
        " && ".join(["user.a == 1"] * 2000),
    ],
)
def test_size_and_depth_are_bounded(source: str) -> None:
    assert isinstance(read(source), list)
