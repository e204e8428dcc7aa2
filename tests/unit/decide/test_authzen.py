"""What AuthZEN's questions mean: pure readers, which never raise and name each problem."""

import json
import random
from copy import deepcopy
from typing import Any

import pytest

from extauthz.decide.authzen import (
    AskedSubject,
    Batch,
    Evaluation,
    QuestionRejected,
    Semantic,
    read_action_search,
    read_batch,
    read_evaluation,
    read_item,
    read_subject_search,
)
from extauthz.decide.authzen_metadata import metadata_of, path_of
from extauthz.domain.principal import Authentication, Principal, PrincipalKind

ASKED: dict[str, Any] = {
    "subject": {
        "type": "user",
        "id": "alice",
        "properties": {"roles": ["b", "a"], "domain": "emea", "id": "x"},
    },
    "action": {"name": "read", "properties": {"soft": True}},
    "resource": {"type": "invoice", "id": "4711", "properties": {"id": "0", "name": "n", "owner": "bob"}},
    "context": {"risk": {"score": 3}},
}


def evaluation(document: object) -> Evaluation:
    found = read_evaluation(document)
    assert isinstance(found, Evaluation), found
    return found


def test_a_subject_is_a_principal() -> None:
    principal = evaluation(ASKED).subject.principal("acme", frozenset({"b"}))
    assert isinstance(principal, Principal)
    assert (principal.kind, principal.id, principal.tenant) == (PrincipalKind.USER, "alice", "acme")
    assert (principal.domain, principal.roles) == ("emea", ("a",))
    assert principal.authentication is Authentication.API_KEY
    assert principal.claims["roles"] == ("b", "a")


def test_a_subject_of_another_type_has_no_principal() -> None:
    subject = ASKED["subject"] | {"type": "robot"}
    assert evaluation(ASKED | {"subject": subject}).subject.principal("acme", frozenset()) is None


def test_a_question_by_name() -> None:
    question = evaluation(ASKED).question(None)
    assert (question.resource, question.action) == ("invoice:read", "read")
    assert dict(question.parameters) == {"id": "4711", "name": "n", "owner": "bob"}
    assert question.action_properties == {"soft": True}
    assert question.context == {"risk": {"score": 3}}
    assert not question.roles_only


def test_searches_leave_out_what_they_look_for() -> None:
    found = read_subject_search(ASKED | {"subject": {"type": "service", "id": 5}})
    assert not isinstance(found, QuestionRejected)
    assert (found.subject.kind, found.subject.id) == (PrincipalKind.SERVICE, None)
    without = read_action_search(ASKED | {"action": "ignored"})
    assert not isinstance(without, QuestionRejected)
    assert without.resource.type == "invoice"


@pytest.mark.parametrize(
    ("semantic", "ends"),
    [
        (Semantic.EXECUTE_ALL, (False, False)),
        (Semantic.DENY_ON_FIRST_DENY, (True, False)),
        (Semantic.PERMIT_ON_FIRST_PERMIT, (False, True)),
    ],
)
def test_semantics_end_a_batch(semantic: Semantic, ends: tuple[bool, bool]) -> None:
    assert (semantic.ends_at(decision=False), semantic.ends_at(decision=True)) == ends


def entry(batch: dict[str, Any], item: object) -> Evaluation | QuestionRejected:
    found = read_batch(batch | {"evaluations": [item]})
    assert isinstance(found, Batch), found
    return read_item(item, found.defaults)


def test_a_member_of_an_entry_replaces_the_default_as_a_whole() -> None:
    assert entry(ASKED, {}) == evaluation(ASKED)
    found = entry(ASKED, {"subject": {"id": "bob"}, "context": {}, "resource": {"id": "2"}})
    assert isinstance(found, Evaluation)
    assert (found.subject.type, found.subject.id) == ("user", "bob")
    assert (found.subject.domain, dict(found.subject.claims)) == (None, {})
    assert dict(found.resource.parameters) == {"id": "2"}
    assert found.context == {}
    partial = {**ASKED, "resource": {"type": "invoice"}}
    assert isinstance(entry(partial, {}), QuestionRejected)
    assert isinstance(entry(partial, {"resource": {"id": "1"}}), Evaluation)
    assert isinstance(entry(partial, {"resource": {"id": None}}), QuestionRejected)


def test_no_json_value_raises_or_has_a_subject_of_another_type() -> None:
    """Whatever stands anywhere in a question, it is refused with places, or a question of the right types."""
    rng = random.Random(17)
    values: list[Any] = [
        None,
        True,
        0,
        -1,
        1.5,
        "",
        "x",
        "*",
        "\0",
        "a" * 300,
        " a",
        [],
        {},
        [{}],
        {"type": 1},
        {"id": {}},
        {"name": []},
        {"properties": 7},
        {"roles": {}},
        {"roles": "a"},
        {"domain": 1},
        {"domain": None},
        10**400,
    ]
    for _ in range(4000):
        document = json.loads(json.dumps(ASKED))
        for _ in range(rng.randint(1, 3)):
            here = document
            while True:
                name = rng.choice([*here, "extra"])
                if isinstance(here.get(name), dict) and here[name] and rng.random() < 0.6:
                    here = here[name]
                    continue
                if rng.random() < 0.3:
                    here.pop(name, None)
                else:
                    here[name] = deepcopy(rng.choice(values))
                break
            if not isinstance(document, dict) or not document:
                break
        found = read_evaluation(document)
        batch = read_batch(document | {"evaluations": [document, {}], "options": rng.choice(values)})
        assert batch is not None
        if isinstance(batch, Batch):
            for item in batch.items:
                read_item(item, batch.defaults)
        read_subject_search(document)
        read_action_search(document)
        if isinstance(found, QuestionRejected):
            assert found.problems
            assert all(problem.pointer or problem.message for problem in found.problems)
            continue
        assert isinstance(found.subject, AskedSubject)
        assert isinstance(found.subject.id, str)
        assert found.resource.parameters["id"] == document["resource"]["id"]
        principal = found.subject.principal("acme", frozenset())
        assert principal is None or isinstance(principal, Principal | QuestionRejected)


def test_metadata_are_behind_the_base_url() -> None:
    assert metadata_of("https://pdp.example.com/x", "acme") == {
        "policy_decision_point": "https://pdp.example.com/x/acme",
        "access_evaluation_endpoint": "https://pdp.example.com/x/acme/access/v1/evaluation",
        "access_evaluations_endpoint": "https://pdp.example.com/x/acme/access/v1/evaluations",
        "search_subject_endpoint": "https://pdp.example.com/x/acme/access/v1/search/subject",
        "search_action_endpoint": "https://pdp.example.com/x/acme/access/v1/search/action",
    }
    assert path_of("https://pdp.example.com/x/y") == "/x/y"
    assert path_of("https://pdp.example.com:8443") == ""
