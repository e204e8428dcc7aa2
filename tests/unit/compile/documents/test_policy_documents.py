"""Policy documents: valid ones are read, and all problems of one are reported at once with pointers."""

from collections.abc import Mapping

import pytest

from extauthz.compile.documents.policy_documents import Reading, parse_policy_set, parse_role_rule
from extauthz.compile.documents.resource_documents import parse_resource
from extauthz.domain.policy import (
    AttributePolicy,
    Mode,
    PolicySet,
    RoleBinding,
    RoleRule,
    SubjectKind,
)
from extauthz.domain.problem import Problem
from tests.policy_documents import (
    BINDING,
    POLICY,
    READING,
    RESOURCE,
    RULE,
    pointers,
    read_binding,
    read_policy,
    read_rule,
)


def test_all_problems_of_a_policy_set_are_reported_at_once() -> None:
    found = parse_policy_set(
        {
            "role_rules": [{**RULE, "effect": "permit", "colour": "red"}, "a rule", {}],
            "role_bindings": [{**BINDING, "user_kind": "group", "expires_at": "tomorrow"}],
            "attribute_policies": [{**POLICY, "priority": 1.5, "enabled": "yes", "actions": []}],
            "resources": [{**RESOURCE, "name": 7, "routes": [{"methods": "GET", "path": "x"}]}],
            "roles": [],
        },
        READING,
    )
    assert sorted(pointers(found)) == [
        "/attribute_policies/0/actions",
        "/attribute_policies/0/enabled",
        "/attribute_policies/0/priority",
        "/resources/0/name",
        "/resources/0/routes/0/methods",
        "/resources/0/routes/0/path",
        "/role_bindings/0/expires_at",
        "/role_bindings/0/user_kind",
        "/role_rules/0/colour",
        "/role_rules/0/effect",
        "/role_rules/1",
        "/role_rules/2/act",
        "/role_rules/2/dom",
        "/role_rules/2/effect",
        "/role_rules/2/id",
        "/role_rules/2/obj",
        "/role_rules/2/sub",
        "/roles",
    ]


def test_a_problem_names_the_found_and_the_required_value() -> None:
    (problem,) = read_rule(effect="permit")  # type: ignore[misc]
    assert problem == Problem("/effect", "found 'permit', one of 'allow', 'deny' is needed")


@pytest.mark.parametrize("document", [None, [], "text", 7, {1: "a"}])
def test_a_policy_set_that_is_not_an_object_is_refused(document: object) -> None:
    assert pointers(parse_policy_set(document, READING)) == [""]


def test_an_empty_policy_set_has_no_rules() -> None:
    assert parse_policy_set({}, READING) == PolicySet()


@pytest.mark.parametrize(
    ("members", "kind"),
    [
        ({}, SubjectKind.ROLE),
        ({"effect": "deny"}, SubjectKind.ANY),
        ({"sub_kind": "user"}, SubjectKind.USER),
        ({"sub_kind": "service", "effect": "deny"}, SubjectKind.SERVICE),
        ({"sub": "*"}, SubjectKind.ANY),
        ({"sub": "*", "sub_kind": "any"}, SubjectKind.ANY),
        ({"sub": "*", "effect": "deny"}, SubjectKind.ANY),
    ],
)
def test_the_members_of_a_rule_determine_the_kind_of_its_subject(
    members: Mapping[str, str], kind: SubjectKind
) -> None:
    rule = read_rule(**members)
    assert isinstance(rule, RoleRule)
    assert rule.sub_kind is kind


@pytest.mark.parametrize(
    "members",
    [
        {"sub": "*", "sub_kind": "role"},
        {"sub": "*", "sub_kind": "user", "effect": "deny"},
        {"sub_kind": "any"},
        {"sub_kind": "Workload"},
        {"sub_kind": None},
    ],
)
def test_a_kind_that_does_not_fit_the_subject_is_refused(members: Mapping[str, object]) -> None:
    assert pointers(read_rule(**members)) == ["/sub_kind"]


@pytest.mark.parametrize(
    "name",
    ["", " x", "x ", "a\0b", "a\nb", "a\u200bb", "e\u0301", "\ud800", "x" * 257, 7, None, True, ["x"], {}],
)
@pytest.mark.parametrize("member", ["sub", "dom", "obj", "act"])
def test_a_name_that_could_pass_for_another_is_refused(member: str, name: object) -> None:
    assert pointers(read_rule(**{member: name})) == [f"/{member}"]


def test_an_id_has_a_length_limit_and_is_not_a_wildcard() -> None:
    assert isinstance(read_rule(id="x" * 128), RoleRule)
    assert pointers(read_rule(id="x" * 129)) == ["/id"]
    assert pointers(read_rule(id="*")) == ["/id"]


def test_an_id_is_assigned_where_the_reader_assigns_one() -> None:
    problems: list[Problem] = []
    document = {name: value for name, value in RULE.items() if name != "id"}
    rule = parse_role_rule(document, "", problems, Reading(assigned_id="new"))
    assert isinstance(rule, RoleRule)
    assert rule.id == "new"


def test_an_id_is_refused_where_the_reader_assigns_one() -> None:
    problems: list[Problem] = []
    assert parse_role_rule(RULE, "", problems, Reading(assigned_id="new")) is None
    assert [each.pointer for each in problems] == ["/id"]


@pytest.mark.parametrize("member", ["user", "role"])
def test_a_binding_has_no_wildcard_but_its_domain(member: str) -> None:
    assert pointers(read_binding(**{member: "*"})) == [f"/{member}"]


def test_a_role_cannot_inherit_from_itself() -> None:
    found = read_binding(user="finance", user_kind="role")
    assert pointers(found) == ["/role"]
    assert isinstance(read_binding(user="finance", user_kind="user"), RoleBinding)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        (None, None),
        ("1970-01-01T00:00:10Z", 10.0),
        ("1970-01-01T01:00:00.5+01:00", 0.5),
        ("1970-01-01t00:00:00z", 0.0),
    ],
)
def test_a_binding_expires_at_the_written_time(written: str | None, seconds: float | None) -> None:
    binding = read_binding(expires_at=written)
    assert isinstance(binding, RoleBinding)
    assert binding.expires_at == seconds


@pytest.mark.parametrize(
    "written", ["2026-01-31", "2026-01-31T08:00:00", "2026-02-30T08:00:00Z", 0, "", True]
)
def test_an_invalid_expiry_never_becomes_a_binding_without_expiry(written: object) -> None:
    assert pointers(read_binding(expires_at=written)) == ["/expires_at"]


def test_omitted_members_of_a_policy_have_defaults() -> None:
    policy = read_policy()
    assert isinstance(policy, AttributePolicy)
    assert (policy.actions, policy.domain, policy.priority, policy.enabled, policy.mode) == (
        ("*",),
        "*",
        0,
        True,
        Mode.ENFORCE,
    )


def test_a_writer_with_several_domains_must_name_one() -> None:
    assert pointers(read_policy(Reading(default_domain=None))) == ["/domain"]
    only = read_policy(Reading(default_domain="emea"))
    assert isinstance(only, AttributePolicy)
    assert only.domain == "emea"


@pytest.mark.parametrize(
    ("effect", "priority", "fits"),
    [
        ("allow", 1000, True),
        ("allow", 1001, False),
        ("allow", -1000, True),
        ("allow", -1001, False),
        ("deny", 1001, True),
        ("deny", 2**31 - 1, True),
        ("deny", 2**31, False),
        ("deny", -(2**31), True),
        ("deny", -(2**31) - 1, False),
        ("deny", 10**400, False),
        ("deny", True, False),
        ("deny", "5", False),
        ("deny", None, False),
    ],
)
def test_a_priority_must_be_in_the_band_of_its_effect_and_writer(
    effect: str, priority: object, *, fits: bool
) -> None:
    found = read_policy(effect=effect, priority=priority)
    assert isinstance(found, AttributePolicy) if fits else pointers(found) == ["/priority"]


def test_a_domain_admin_lifts_no_deny_and_writes_no_guardrail() -> None:
    admin = Reading(default_domain="emea", highest_allow=0, guardrails=False)
    assert isinstance(read_policy(admin, effect="allow", priority=0), AttributePolicy)
    assert pointers(read_policy(admin, effect="allow", priority=1)) == ["/priority"]
    assert isinstance(read_policy(admin, effect="deny", priority=1000), AttributePolicy)
    assert pointers(read_policy(admin, effect="deny", priority=1001)) == ["/priority"]


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("actions", "read"),
        ("actions", [""]),
        ("actions", [7]),
        ("enabled", None),
        ("enabled", 1),
        ("mode", "Shadow"),
        ("mode", None),
        ("format", "xml"),
        ("effect", "Allow"),
        ("effect", None),
        ("domain", ""),
        ("domain", None),
        ("name", ""),
        ("resource", None),
        ("rule_data", None),
        ("ruleData", {}),
        ("Priority", 1),
    ],
)
def test_invalid_members_of_a_policy_are_refused_with_their_pointer(member: str, value: object) -> None:
    found = pointers(read_policy(READING, **{member: value}))
    assert found
    assert all(pointer.startswith(f"/{member}") for pointer in found)


LONGEST = "\U0001f600" * 256


def test_the_names_of_a_rule_fit_into_an_index_together() -> None:
    fits = "\U0001f600" * 150  # four of them are 2,400 bytes
    members = {"sub": fits, "dom": fits, "obj": fits, "act": fits}
    assert isinstance(read_rule(**members), RoleRule)
    assert read_rule(**(members | {"act": fits + "x"})) == [
        Problem("", "sub, dom, obj, act have more than 2400 bytes of UTF-8 together")
    ]
    assert read_binding(user=LONGEST, role=LONGEST, dom=LONGEST) == [
        Problem("", "user, role, dom have more than 2400 bytes of UTF-8 together")
    ]
    roles = {"defaultRoles": ["short", LONGEST]}
    problems: list[Problem] = []
    fitting = {**RESOURCE, **roles, "name": f"{LONGEST[:200]}:{LONGEST[:55]}"}
    assert parse_resource(fitting, "", problems) is not None
    assert parse_resource({**fitting, "name": f"a:{LONGEST[:240]}"}, "", problems) is None
    assert pointers(problems) == ["/defaultRoles/1"]


def test_members_of_an_enumeration_are_shown_as_written() -> None:
    message = "found 'role', the subject '*' is always of kind 'any'"
    assert read_rule(sub="*", sub_kind="role") == [Problem("/sub_kind", message)]


def test_a_member_name_is_escaped_in_its_pointer() -> None:
    assert pointers(read_rule(**{"a/b~c": 1})) == ["/a~1b~0c"]
