"""Role bindings and inheritance: when bindings end, and which hierarchies are refused."""

import random
from itertools import pairwise
from typing import NamedTuple, cast

import pytest

from extauthz.compile.roles.role_index import BindingIndex, RoleIndex
from extauthz.domain.policy import RoleBinding, RoleRule, SubjectKind
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.reasons import Effect
from tests.call_counts import calls_of
from tests.shipped_model import MODEL

EVERY_DOMAIN = frozenset({"*"})


def binding(
    name: str, user: str, role: str, *, dom: str = "*", kind: str = "role", expires_at: float | None = None
) -> RoleBinding:
    return RoleBinding(name, user, SubjectKind(kind), role, dom, expires_at)


def index(*bindings: RoleBinding) -> BindingIndex:
    found = BindingIndex()
    for each in bindings:
        found = found.with_binding(each)
    return found


def links(*names: str, dom: str = "*") -> list[RoleBinding]:
    return [binding(f"{dom}-{lower}-{upper}", lower, upper, dom=dom) for lower, upper in pairwise(names)]


def alice(*roles: str, domain: str | None = "d1") -> Principal:
    return Principal(PrincipalKind.USER, "alice", "default", domain, roles, Authentication.JWT)


def roles_at(bindings: BindingIndex, now: float, principal: Principal | None = None) -> tuple[str, ...]:
    return bindings.subjects(principal or alice(), now).roles


def test_a_binding_ends_at_its_expiry_exactly() -> None:
    bound = index(binding("g", "alice", "finance", kind="user", expires_at=100.0))
    assert roles_at(bound, 99.999999) == ("finance",)
    assert roles_at(bound, 100.0) == ()
    assert roles_at(bound, 1e12) == ()


def test_the_subjects_of_a_principal_are_valid_from_one_expiry_to_the_next() -> None:
    bound = index(
        binding("a", "alice", "past", kind="user", expires_at=50.0),
        binding("b", "alice", "soon", kind="user", expires_at=100.0),
        binding("c", "soon", "later", expires_at=200.0),
        binding("d", "other", "never-reached", expires_at=75.0),
    )
    known = bound.subjects(alice(), 60.0)
    assert known.roles == ("later", "soon")
    assert (known.valid_from, known.valid_until) == (50.0, 100.0)


def test_an_inherited_role_ends_with_the_link_that_brought_it_unless_another_does() -> None:
    bound = index(
        binding("a", "alice", "staff", kind="user"),
        binding("b", "staff", "reader", expires_at=100.0),
        binding("c", "staff", "reader", dom="d1", expires_at=200.0),
    )
    assert roles_at(bound, 150.0) == ("reader", "staff")
    assert roles_at(bound, 150.0, alice(domain="d2")) == ("staff",)
    assert roles_at(bound, 200.0) == ("staff",)


def test_a_binding_gives_its_role_in_its_domain() -> None:
    bound = index(
        binding("a", "alice", "everywhere", kind="user"),
        binding("b", "alice", "here", kind="user", dom="d1"),
        binding("c", "here", "inherited", dom="d1"),
        binding("d", "here", "elsewhere", dom="d2"),
    )
    assert roles_at(bound, 0) == ("everywhere", "here", "inherited")
    assert roles_at(bound, 0, alice(domain=None)) == ("everywhere",)


def test_kinds_are_never_read_out_of_names() -> None:
    bound = index(
        binding("a", "alice", "by-user", kind="user"),
        binding("b", "alice", "by-service", kind="service"),
        binding("c", "alice", "by-role"),
        binding("d", "user:alice", "by-role-that-looks-like-a-user"),
    )
    assert roles_at(bound, 0) == ("by-user",)
    assert roles_at(bound, 0, alice("user:alice")) == (
        "by-role-that-looks-like-a-user",
        "by-user",
        "user:alice",
    )
    odd = Principal(PrincipalKind.USER, "role:alice", "default", None, (), Authentication.JWT)
    assert roles_at(bound, 0, odd) == ()


def test_workloads_and_the_anonymous_principal_have_no_bindings() -> None:
    bound = index(binding("a", "alice", "x", kind="user"), binding("b", "anonymous", "y", kind="user"))
    workload = Principal(PrincipalKind.WORKLOAD, "alice", None, None, (), Authentication.MTLS)
    anonymous = Principal(PrincipalKind.ANONYMOUS, None, None, None, ("anonymous",), Authentication.NONE)
    assert bound.subjects(workload, 0).names == ("workload:alice",)
    assert bound.subjects(anonymous, 0).names == ("anonymous", "role:anonymous")


def test_eight_links_are_the_most() -> None:
    names = [f"r{number}" for number in range(10)]
    assert index(*links(*names[:9])).inheritance_problems(EVERY_DOMAIN) == []
    assert index(*links(*names)).inheritance_problems(EVERY_DOMAIN) == [
        ("*", "the role 'r0' inherits over more than 8 links")
    ]


def test_links_count_over_a_domain_and_every_domain_together() -> None:
    names = [f"r{number}" for number in range(10)]
    bound = index(*links(*names[:6]), *links(*names[5:], dom="d1"), *links("a", "b", dom="d2"))
    assert bound.inheritance_problems(EVERY_DOMAIN) == [
        ("d1", "the role 'r0' inherits over more than 8 links")
    ]
    assert bound.inheritance_problems(frozenset({"d2"})) == []
    assert bound.inheritance_problems(frozenset({"d1"})) != []


@pytest.mark.parametrize("dom", ["*", "d1"])
def test_a_cycle_is_named(dom: str) -> None:
    bound = index(*links("a", "b", "c", "a", dom=dom), *links("x", "b"))
    ((domain, problem),) = bound.inheritance_problems(EVERY_DOMAIN)
    assert domain == dom
    assert problem == "the roles inherit in a cycle: a -> b -> c -> a"


def test_roles_that_no_single_domain_joins_to_a_cycle_are_accepted() -> None:
    bound = index(*links("a", "b", dom="d1"), *links("b", "a", dom="d2"))
    assert bound.inheritance_problems(EVERY_DOMAIN) == []
    closed = bound.with_binding(binding("closing", "b", "a"))
    assert [domain for domain, _ in closed.inheritance_problems(EVERY_DOMAIN)] == ["d1"]


def test_a_lattice_is_neither_a_cycle_nor_walked_path_by_path() -> None:
    # Two roles on each of eight levels, each inheriting both above: 2**8 paths, eight links.
    levels = [(f"a{level}", f"b{level}") for level in range(9)]
    crossed = [
        binding(f"{lower}-{upper}", lower, upper)
        for below, above in pairwise(levels)
        for lower in below
        for upper in above
    ]
    assert index(*crossed).inheritance_problems(EVERY_DOMAIN) == []
    assert len(roles_at(index(*crossed), 0, alice("a0"))) == 17


def longest_chain(links_of: dict[str, set[str]], name: str, seen: tuple[str, ...] = ()) -> int:
    """Count the links above a role, one chain after the other; 99 for a cycle."""
    if name in seen:
        return 99
    chains = [1 + longest_chain(links_of, parent, (*seen, name)) for parent in links_of.get(name, ())]
    return max(chains, default=0)


def test_exactly_the_domains_with_a_cycle_or_a_long_chain_are_refused() -> None:
    refused = 0
    for seed in range(400):
        rng = random.Random(seed)
        names = [f"r{number}" for number in range(rng.choice([4, 12]))]
        drawn = []
        for number in range(rng.randint(1, 24)):
            lower = rng.randrange(len(names) - 1)
            upper = rng.randint(lower + 1, min(lower + 2, len(names) - 1))
            if rng.random() < 0.03:
                lower, upper = upper, lower
            dom = rng.choice(["*", "d1", "d2"])
            drawn.append(binding(f"{number}", names[lower], names[upper], dom=dom))
        bound = index(*drawn)
        gone = [each for each in drawn if rng.random() < 0.3]
        for each in gone:
            bound = bound.without_binding(each)
        kept = [each for each in drawn if each not in gone]
        assert bound == index(*kept)
        expected = set()
        for domain in ("*", "d1", "d2"):
            links_of: dict[str, set[str]] = {}
            for each in kept:
                if each.dom in {"*", domain}:
                    links_of.setdefault(each.user, set()).add(each.role)
            if any(longest_chain(links_of, name) > 8 for name in names):
                expected.add(domain)
        found = {domain for domain, _ in bound.inheritance_problems(EVERY_DOMAIN)}
        assert found == ({"*"} if "*" in expected else expected), f"seed {seed}"
        refused += bool(found)
    assert 40 < refused < 360


def operations(bound: BindingIndex) -> int:
    """Return how many functions one check of all domains calls."""
    problems: list[object] = []
    count = calls_of(lambda: problems.extend(bound.inheritance_problems(EVERY_DOMAIN)))
    assert problems == []
    return count


def test_many_domains_and_many_lines_of_every_domain_cost_their_sum() -> None:
    lines, every = 400, "*"
    shapes = {
        "below": [(f"r{at}", "top", every) for at in range(lines)]
        + [("top", f"own{at}", f"d{at}") for at in range(lines)],
        "above": [("base", f"r{at}", every) for at in range(lines)]
        + [(f"own{at}", "base", f"d{at}") for at in range(lines)],
        "apart": [(f"r{at}", "top", every) for at in range(lines)]
        + [(f"own{at}", f"other{at}", f"d{at}") for at in range(lines)],
    }
    for name, drawn in shapes.items():
        bound = index(*(binding(f"{at}", user, role, dom=dom) for at, (user, role, dom) in enumerate(drawn)))
        assert operations(bound) < 100 * lines, name


def test_a_chain_over_lines_of_its_domain_and_of_every_domain_is_measured_whole() -> None:
    below = links("a", "b", "c")
    between = links("d", "e", "f")
    own = [binding("own1", "c", "d", dom="d1"), binding("own2", "f", "g", dom="d1")]
    above = links("g", "h", "i", "j")
    assert index(*below, *between, *own, *above[:2]).inheritance_problems(EVERY_DOMAIN) == []
    too_long = index(*below, *between, *own, *above)
    expected = [("d1", "the role 'a' inherits over more than 8 links")]
    assert too_long.inheritance_problems(EVERY_DOMAIN) == expected
    assert too_long.inheritance_problems(frozenset({"d1"})) == expected


def test_a_very_long_chain_is_refused_without_being_walked_to_its_end() -> None:
    bound = index(*links(*(f"r{number:05}" for number in range(20_000))))
    ((_, problem),) = bound.inheritance_problems(EVERY_DOMAIN)
    assert problem == "the role 'r00000' inherits over more than 8 links"


def test_a_binding_taken_out_leaves_the_others() -> None:
    one, other = binding("a", "alice", "x", kind="user"), binding("b", "alice", "x", kind="user")
    bound = index(one, other)
    assert roles_at(bound.without_binding(one), 0) == ("x",)
    assert bound.without_binding(one).without_binding(other) == BindingIndex()
    assert bound.without_binding(binding("c", "alice", "x", kind="user")) == bound


def test_the_lowest_id_of_the_winning_effect_decides() -> None:
    rules = [
        RoleRule(name, sub, SubjectKind.ROLE, dom, obj, "read", effect)
        for name, sub, dom, obj, effect in (
            ("a", "x", "*", "doc", Effect.ALLOW),
            ("c", "y", "*", "*", Effect.DENY),
            ("b", "x", "d1", "doc", Effect.DENY),
        )
    ]
    found = RoleIndex.of(rules, MODEL)

    def decided(*subjects: str, dom: str | None = "d1") -> tuple[str, str] | None:
        outcome = found.decide(subjects, authenticated=True, dom=dom, obj="doc", act="read")
        return None if outcome is None else (outcome.effect.value, outcome.rule_id)

    assert decided("role:x", "role:y") == ("deny", "b")
    assert decided("role:y", "role:x") == ("deny", "b")
    assert decided("role:x", "role:y", dom=None) == ("deny", "c")
    assert decided("role:x", dom=None) == ("allow", "a")
    assert decided("user:x") is None


def test_names_that_only_denies_count_on() -> None:
    allow = RoleRule("a", "x", SubjectKind.ROLE, "*", "/a@b", "get", Effect.ALLOW)
    deny = RoleRule("b", "y", SubjectKind.ROLE, "*", "/a@b", "get", Effect.DENY)
    found = RoleIndex.of([allow, deny], MODEL)
    cells = found.matching(None, "/a%40b", "get", ("/a@b",))
    assert found.decide_in(cells, ("role:x",), authenticated=True) is None
    outcome = found.decide_in(cells, ("role:x", "role:y"), authenticated=True)
    assert outcome is not None
    assert outcome.rule_id == "b"


class RuleOfALaterVersion(NamedTuple):
    """A role rule with a member that this version does not have."""

    id: str
    sub: str
    sub_kind: SubjectKind
    dom: str
    obj: str
    act: str
    effect: Effect
    note: str | None = None


def test_a_member_that_a_later_version_adds_to_rules_changes_no_decision() -> None:
    rule = RuleOfALaterVersion("a", "x", SubjectKind.ROLE, "*", "doc", "read", Effect.ALLOW, note="why")
    found = RoleIndex.of([cast("RoleRule", rule)], MODEL)
    outcome = found.decide(("role:x",), authenticated=True, dom="d1", obj="doc", act="read")
    assert outcome is not None
    assert outcome.rule_id == "a"
