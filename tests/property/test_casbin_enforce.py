"""`extauthz casbin enforce` answers as pycasbin does, on policies without its known pitfalls."""

import json
import random
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import casbin
import pytest
from casbin.model import FunctionMap
from hypothesis import given
from hypothesis import strategies as st

from extauthz.casbin_enforce.engine import CasbinEngine, load_engine
from extauthz.casbin_enforce.functions import PATTERN_FUNCTIONS, Undecided
from extauthz.casbin_enforce.index_enforcer import IndexedEngine
from extauthz.casbin_enforce.model import PlainModel, read_model
from extauthz.casbin_enforce.policy_file import read_rows
from extauthz.casbin_enforce.roles import MAX_LINKS
from extauthz.casbin_enforce.row_enforcer import GuardedEngine

NOW = datetime(2026, 1, 31, 8)  # noqa: DTZ001
NAMES = ["alice", "bob", "admin", "editor", "anonymous", "*"]
CHAIN = [f"role{number}" for number in range(11)]

DENY_OVERRIDE = "some(where (p.eft == allow)) && !some(where (p.eft == deny))"
EFFECTS = ["some(where (p.eft == allow))", "!some(where (p.eft == deny))", DENY_OVERRIDE]


def compilable_model(rng: random.Random) -> str:
    def field(name: str) -> str:
        same = rng.choice([f"p.{name} == r.{name}", f"r.{name} == p.{name}"])
        return rng.choice([same, f'({same} || p.{name} == "*")', f'(p.{name} == "*" || {same})'])

    everyone = 'p.sub == "*" && (r.sub != "anonymous" || p.eft == "deny")'
    subject = rng.choice(["g(r.sub, p.sub, r.dom)", f"(g(r.sub, p.sub, r.dom) || {everyone})"])
    parts = [subject, field("dom"), field("obj"), field("act")]
    rng.shuffle(parts)
    return model_text(" && ".join(parts), DENY_OVERRIDE)


def model_text(matcher: str, effect: str, policy: str = "sub, dom, obj, act, eft") -> str:
    return (
        "[request_definition]\nr = sub, dom, obj, act\n"
        f"[policy_definition]\np = {policy}\n"
        "[role_definition]\ng = _, _, _\n"
        f"[policy_effect]\ne = {effect}\n"
        f"[matchers]\nm = {matcher}\n"
    )


def policy_text(rng: random.Random, *, prefix: str = "") -> str:
    choice = rng.choice
    lines = [
        ", ".join(
            [
                "p",
                *([prefix] if prefix else []),
                choice([*NAMES, choice(CHAIN)]),
                choice(["d1", "d2", "*"]),
                choice(["doc", "file", "*"]),
                choice(["read", "write", "*"]),
                choice(["allow", "allow", "deny"]),
            ]
        )
        for _ in range(rng.randint(1, 12))
    ]
    lines += [
        f"g, {choice([*NAMES, *CHAIN])}, {choice([*NAMES, *CHAIN])}, {choice(['d1', 'd2', '*'])}"
        for _ in range(rng.randint(0, 8))
    ]
    if rng.random() < 0.3:
        # One link more than pycasbin follows, so that the last one counts: see `agrees`.
        lines += [f"g, {low}, {high}, d1" for low, high in pairwise(CHAIN)]
    rng.shuffle(lines)
    return "\n".join(lines) + "\n"


def request(rng: random.Random) -> list[str]:
    choice = rng.choice
    return [
        choice([*NAMES, "role0", "role1", "role2", "nobody"]),
        choice(["d1", "d2", "*", "d3"]),
        choice(["doc", "file", "*", "other"]),
        choice(["read", "write", "*"]),
    ]


def pycasbin(folder: Path, model: str, policy: str) -> casbin.Enforcer:
    (folder / "model.conf").write_text(model)
    (folder / "policy.csv").write_text(policy)
    return casbin.Enforcer(str(folder / "model.conf"), str(folder / "policy.csv"))


def ours(model: str, policy: str) -> CasbinEngine:
    engine = load_engine(model, policy.encode())
    assert isinstance(engine, CasbinEngine)
    assert engine.complaints == ()
    return engine


def answer(engine: CasbinEngine, values: list[str]) -> str:
    return engine.answer(json.dumps(values).encode(), NOW)


def has_far_roles(policy: str, values: list[str]) -> bool:
    """Tell whether the request's subject has a role in its domain that pycasbin does not get to."""
    subject, domain = values[:2]
    links = [line.split(", ")[1:] for line in policy.splitlines() if line.startswith("g, ")]
    seen, level = {subject}, {subject}
    for _ in range(1 + MAX_LINKS):
        level = {high for low, high, where in links if where == domain and low in level} - seen
        seen |= level
    return bool(level)


def agrees(engine: CasbinEngine, policy: str, values: list[str], *, expected: bool) -> bool:
    """Return whether the answer is that of pycasbin, or an error where pycasbin did not read all roles."""
    said = answer(engine, values)
    if expected and said.startswith("error: ") and has_far_roles(policy, values):
        return said.endswith("inherits over more links than Casbin follows")
    return said == str(expected).lower()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("casbin")


@given(st.randoms(use_true_random=False))
def test_index_and_guarded_engine_answer_a_compilable_model_as_pycasbin_does(
    folder: Path, rng: random.Random
) -> None:
    model, policy = compilable_model(rng), policy_text(rng)
    theirs, engine = pycasbin(folder, model, policy), ours(model, policy)
    assert isinstance(engine.decider, IndexedEngine)
    plain = read_model(model)
    assert isinstance(plain, PlainModel)
    rows = read_rows(policy.encode(), plain.widths)
    assert isinstance(rows, list)
    guarded = GuardedEngine(plain, rows)
    for _ in range(20):
        values = request(rng)
        expected = theirs.enforce(*values)
        assert agrees(engine, policy, values, expected=expected)
        assert (guarded.decide(values, NOW) is True) is (answer(engine, values) == "true")
        assert (guarded.decide(values, NOW) is False) is not expected


MATCHERS = [
    "g(r.sub, p.sub, r.dom) && r.dom == p.dom && r.obj == p.obj && r.act == p.act",
    "r.sub == p.sub && (r.dom == p.dom || p.dom == '*') && keyMatch(r.obj, p.obj) && r.act != p.act",
    "g(r.sub, p.sub, r.dom) && !(r.obj == p.obj) && r.act in ('read', p.act)",
    '!g(r.sub, p.sub, r.dom) && r.act == p.act || r.sub == "admin"',
    "(r.sub == p.sub || g(r.sub, p.sub)) && r.obj == p.obj # a comment",
]


@given(st.randoms(use_true_random=False))
def test_other_models_are_answered_as_pycasbin_does(folder: Path, rng: random.Random) -> None:
    model, policy = model_text(rng.choice(MATCHERS), rng.choice(EFFECTS)), policy_text(rng)
    theirs, engine = pycasbin(folder, model, policy), ours(model, policy)
    for _ in range(20):
        values = request(rng)
        assert agrees(engine, policy, values, expected=theirs.enforce(*values))


@given(st.randoms(use_true_random=False))
def test_implicit_priorities_are_the_order_of_the_rows(folder: Path, rng: random.Random) -> None:
    model, policy = model_text(rng.choice(MATCHERS), "priority(p.eft) || deny"), policy_text(rng)
    theirs, engine = pycasbin(folder, model, policy), ours(model, policy)
    for _ in range(20):
        values = request(rng)
        assert agrees(engine, policy, values, expected=theirs.enforce(*values))


@given(st.randoms(use_true_random=False))
def test_a_deny_wins_over_an_allow_of_equal_explicit_priority_in_any_order(
    folder: Path, rng: random.Random
) -> None:
    model = model_text(rng.choice(MATCHERS), "priority(p.eft) || deny", "priority, sub, dom, obj, act, eft")
    lines = policy_text(rng, prefix="PRIORITY").splitlines()
    lines = [line.replace("PRIORITY", str(rng.randint(1, 4))) for line in lines]
    engine = ours(model, "\n".join(lines))
    denies_first = sorted(lines, key=lambda line: not line.endswith("deny"))
    theirs = pycasbin(folder, model, "\n".join(denies_first))
    for _ in range(20):
        values = request(rng)
        assert agrees(engine, "\n".join(lines), values, expected=theirs.enforce(*values))


PIECES = [
    "/",
    "/",
    "a",
    "b",
    ".",
    "*",
    "/*",
    ":id",
    "{id}",
    "{x}",
    "-",
    "+",
    "(",
    ")",
    "[ab]",
    "\n",
    "?x=1",
    "**",
]
TEXTS = ["/", "/", "a", "b", ".", "x", "-", "\n", "?x=1", "aa"]
FIXED = sorted(set(PATTERN_FUNCTIONS) - {"ipMatch"})


@given(
    st.sampled_from(FIXED),
    st.lists(st.sampled_from(TEXTS), max_size=6).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=5).map("".join),
)
def test_a_pattern_function_never_matches_where_pycasbin_does_not(name: str, text: str, pattern: str) -> None:
    """What it decides is what pycasbin decides; what pycasbin cannot read, or reads alone, stays open."""
    theirs = FunctionMap.load_function_map().get_functions()[name]
    try:
        decided = PATTERN_FUNCTIONS[name](text, pattern)
    except Undecided:
        return
    try:
        expected = theirs(text, pattern)
    except Exception:  # noqa: BLE001  # whatever re and wcmatch raise
        assert not decided or name == "keyMatch"
        return
    assert decided == expected
