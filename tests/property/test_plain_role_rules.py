"""The short way of reading a role rule reads what the full reading reads, or leaves the rule to it."""

import os
import random
from typing import TYPE_CHECKING, Any, Final

from extauthz.compile.documents.plain_role_rules import PlainRoleRules
from extauthz.compile.documents.policy_documents import Reading, parse_role_rule

if TYPE_CHECKING:
    from extauthz.domain.problem import Problem

VERIFY = os.environ.get("EXTAUTHZ_VERIFY") == "1"
DOCUMENTS = 200_000 if VERIFY else 20_000

NAMES: Final[list[Any]] = [
    *("a", "role-1", "*", "user:x", "caf\u00e9", "x" * 150, "x" * 151, "\u20ac" * 150, "x" * 256, "x" * 257),
    *("", " a", "a ", "a\n", "cafe\u0301", "a\u200b", "\ud800", "\u2800a", 1, None, True, ["a"], {"a": "b"}),
]
GOOD_NAMES: Final = NAMES[:8]
KINDS: Final[list[Any]] = ["role", "user", "service", "any", "Role", "", 1, None, ["role"]]
MEMBERS: Final = ("id", "sub", "sub_kind", "dom", "obj", "act", "effect")
EFFECTS: Final[list[Any]] = ["allow", "deny", "Allow", "", None, 1, ["allow"]]
IDS: Final[list[Any]] = ["r", "x" * 128, "x" * 129, "*", "", " r", "r\u00ad", 1, None]


def test_every_rule_that_is_read_of_columns_is_the_one_of_the_full_reading() -> None:
    rng = random.Random(6)
    plain, read = PlainRoleRules(), 0
    for _ in range(DOCUMENTS // 2):
        rows = [drawn_row(rng, good=rng.random() < 0.97) for _ in range(rng.randrange(1, 8))]
        found = plain.read_columns([list(column) for column in zip(*rows, strict=True)])
        if found is None:
            continue
        for row, rule in zip(rows, found, strict=True):
            problems: list[Problem] = []
            document = dict(zip(MEMBERS, row, strict=True))
            assert parse_role_rule(document, "", problems, Reading()) == rule, document
            assert not problems, (document, problems)
            read += 1
    assert read > DOCUMENTS // 10


def test_columns_share_one_object_of_each_name() -> None:
    rows = [(f"r{number}", "".join(["ro", "le"]), "role", "*", "doc", "read", "allow") for number in range(2)]
    found = PlainRoleRules().read_columns([list(column) for column in zip(*rows, strict=True)])
    assert found is not None
    assert found[0].sub is found[1].sub


def drawn_row(rng: random.Random, *, good: bool) -> tuple[Any, ...]:
    """Return a row of texts, some of which may be missing, as PostgreSQL may send them."""
    texts = NAMES[:-4]
    return (
        rng.choice(IDS[:2] if good else [*IDS[:-2], None]),
        rng.choice([name for name in GOOD_NAMES if name != "*"] if good else texts),
        rng.choice(KINDS[:3] if good else [*KINDS[:6], None]),
        *(rng.choice(GOOD_NAMES if good else texts) for _ in range(3)),
        rng.choice(EFFECTS[:2] if good else EFFECTS[:5]),
    )


def drawn(rng: random.Random) -> object:
    good = rng.random() < 0.7
    document: dict[str, Any] = {
        "id": rng.choice(IDS[:2] if good else IDS),
        **{member: rng.choice(GOOD_NAMES if good else NAMES) for member in ("sub", "dom", "obj", "act")},
        "effect": rng.choice(EFFECTS[:2] if good else EFFECTS),
    }
    if rng.random() < 0.5:
        document["sub_kind"] = rng.choice(KINDS[:4] if good else KINDS)
    if rng.random() < 0.1:
        del document[rng.choice(sorted(document))]
    if rng.random() < 0.05:
        document[rng.choice(["", "extra", "Sub"])] = "a"
    return rng.choice([[document], None, "r"]) if rng.random() < 0.01 else document


def test_every_rule_that_is_read_in_the_short_way_is_the_one_of_the_full_reading() -> None:
    rng = random.Random(5)
    plain, short = PlainRoleRules(), 0
    for _ in range(DOCUMENTS):
        document = drawn(rng)
        found = plain.read(document)
        if found is None:
            continue
        problems: list[Problem] = []
        assert parse_role_rule(document, "", problems, Reading()) == found, document
        assert not problems, (document, problems)
        short += 1
    assert short > DOCUMENTS // 10
