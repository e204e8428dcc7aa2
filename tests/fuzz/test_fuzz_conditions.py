"""Fuzzes condition documents: no document raises, and nothing that was refused or is unknown allows.

What a compiled condition says for an allow is never more than what it says for a deny: what is true for the
one is true for the other, because what is unknown differs in one direction only.
"""

import json
import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from extauthz.compile.conditions.casbin_conditions import parse_matcher
from extauthz.compile.conditions.compiled_conditions import compile_condition
from extauthz.compile.conditions.condition_trees import parse_condition
from extauthz.compile.documents.policy_documents import Reading, parse_policy_set
from extauthz.compile.roles.role_model import RoleModel
from extauthz.compile.snapshot import Snapshot
from extauthz.compile.snapshot_building import build
from extauthz.domain.policy import Node, PolicySet
from extauthz.domain.problem import Problem
from extauthz.domain.reasons import Effect
from extauthz.domain.strict_json import JsonRejected, read_json
from tests.condition_documents import asked
from tests.fuzz.rounds import corpus, fuzzing, keep_fuzzing, mutated
from tests.property.random_conditions import random_node

HEADERS = frozenset({"x-a", "x-b", "x-risk"})
DOCUMENTS: list[Any] = [document for family in corpus("conditions").values() for document in family]
MATCHERS: list[str] = corpus("matchers")
QUESTIONS = [
    asked(),
    asked(request=False),
    asked({"department": "sales", "level": 3, "tags": ["a", "b"], "nested": {"a": {"b": None}}}),
    asked({"department": ["sales"], "level": "3", "tags": "a"}, {"x": "a", "owner": "alice", "name": "b"}),
    asked(query="q=1&q=2&r=%zz", address=None, headers={"x-a": "\ufffd"}),
    asked(query="q=a;b", address="2001:db8::1"),
]


def judge(document: object) -> None:
    problems = list[Problem]()
    node = parse_condition(document, "", problems, condition_headers=HEADERS)
    assert (node is None) is bool(problems)
    _judge_as_policy(document, refused=node is None)
    if node is not None:
        _judge_node(node)


def _judge_node(node: Node) -> None:
    allow, deny = (compile_condition(node, effect) for effect in (Effect.ALLOW, Effect.DENY))
    for question in QUESTIONS:
        for_allow, for_deny = allow(question), deny(question)
        assert {for_allow, for_deny} <= {True, False, None}
        assert for_allow is None or for_allow is for_deny


def _judge_as_policy(document: object, *, refused: bool) -> None:
    policy = {"id": "p", "name": "p", "resource": "*", "effect": "allow", "rule_data": document}
    reading = Reading(condition_headers=HEADERS)
    found = parse_policy_set({"attribute_policies": [policy]}, reading)
    if refused:
        assert not isinstance(found, PolicySet) or not found.attribute_policies
    else:
        assert isinstance(found, PolicySet)
        assert isinstance(build("default", 1, found, RoleModel()), Snapshot)


@st.composite
def changed_trees(draw: st.DrawFn) -> object:
    """Draw a document with one of its values, anywhere, replaced or a member renamed."""
    seed = draw(st.randoms(use_true_random=False))
    document: Any = random_node(seed, 3) if draw(st.booleans()) else draw(st.sampled_from(DOCUMENTS))
    for _ in range(draw(st.integers(0, 2))):
        document = _changed(document, seed, draw(ODD))
    return document


ODD: st.SearchStrategy[object] = st.one_of(
    st.sampled_from(
        [None, True, 0, -1, 10**400, 1.5, float("inf"), "", "AND", "NOT", "user.id", "user.",
         "resource..x", "\ud800",
         "request.headers.cookie", "(", "a" * 600, "10.0.0.0/33", {}, [], [[]], [1, "a"],
         {"attribute": "user.id"}]
    ),
    st.text(max_size=8),
)  # fmt: skip


def _changed(document: Any, rng: random.Random, odd: object) -> Any:
    if isinstance(document, dict) and document:
        name = rng.choice(sorted(document))
        if rng.random() < 0.2:
            return {other + "x" * (other == name): member for other, member in document.items()}
        return document | {name: _changed(document[name], rng, odd) if rng.random() < 0.7 else odd}
    if isinstance(document, list) and document and rng.random() < 0.7:
        at = rng.randrange(len(document))
        return [*document[:at], _changed(document[at], rng, odd), *document[at + 1 :]]
    return odd


@fuzzing
@given(changed_trees())
def changed_documents(document: object) -> None:
    judge(document)


FRAGMENTS = [
    b"{", b"}", b"[", b"]", b'"', b",", b":", b"null", b"1e400", b"NaN", b"-", b"\\u0000", b"\\ud800",
    b"\xff",
    b'{"type":"NOT","condition":' * 3, b'"type":"ALWAYS"', b"[" * 50, b'"value":{"attribute":"user.id"}',
]  # fmt: skip


@fuzzing
@given(mutated([json.dumps(document).encode() for document in DOCUMENTS], FRAGMENTS))
def changed_texts(text: bytes) -> None:
    document = read_json(text)
    if not isinstance(document, JsonRejected):
        judge(document)


MATCHER_FRAGMENTS = [
    b"(", b")", b"!", b"&&", b"||", b" in ", b"==", b"!=", b"<", b'"', b"'", b"\\", b",", b"true",
    b"user.", b"1.",
    b"((((((((", b"!!!!!!!!", b"user.id", b"x(1)", b"\0", b"#", b";", b"\xff",
]  # fmt: skip


@fuzzing
@given(mutated([matcher.encode() for matcher in MATCHERS], MATCHER_FRAGMENTS))
def changed_matchers(text: bytes) -> None:
    problems = list[Problem]()
    node = parse_matcher(text.decode("utf-8", "replace"), "", problems, condition_headers=HEADERS)
    assert (node is None) is bool(problems)
    if node is not None:
        _judge_node(node)


def test_every_document_is_refused_or_means_something() -> None:
    keep_fuzzing(changed_documents, changed_texts, changed_matchers)


def test_inputs_of_the_corpus_raise_nothing() -> None:
    for document in DOCUMENTS:
        judge(document)
    for count in (998, 999, 1000, 5000):
        judge({"type": "OR", "conditions": [{"type": "ALWAYS"}] * count})
