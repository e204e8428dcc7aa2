"""Casbin models: what is compiled means what Casbin means by it; the rest is refused, naming the part."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.compile.roles.role_index import RoleIndex
from extauthz.compile.roles.role_model import ModelInvalid, RoleModel, compile_model
from extauthz.domain.policy import RoleRule, SubjectKind
from extauthz.domain.reasons import Effect
from extauthz.shipped import shipped
from tests.shipped_model import MODEL

TEXT = shipped("policies/model.conf").read_text("utf-8")
EVERYONE = ' || p.sub == "*" && (r.sub != "anonymous" || p.eft == "deny")'
WILD_OBJECT = ' || p.obj == "*"'


def compiled(*replacements: tuple[str, str]) -> RoleModel | ModelInvalid:
    text = TEXT
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    return compile_model(text)


def test_the_shipped_model_supports_every_wildcard() -> None:
    assert RoleModel(everyone=True, wild_domain=True, wild_object=True, wild_action=True) == MODEL


@pytest.mark.parametrize(
    ("replacements", "model"),
    [
        (((EVERYONE, ""),), RoleModel(everyone=False)),
        (((WILD_OBJECT, ""),), RoleModel(wild_object=False)),
        (
            ((' || p.act == "*"', ""), (' || p.dom == "*"', "")),
            RoleModel(wild_action=False, wild_domain=False),
        ),
        ((("p.act == r.act", "r.act == p.act"),), RoleModel()),
        ((("p.obj == r.obj", '( p.obj=="*" )'), (WILD_OBJECT, " || p.obj==r.obj")), RoleModel()),
        ((("m = (g", "# a comment\nm = (g"),), RoleModel()),
    ],
)
def test_narrower_models_and_other_spellings_are_compiled(
    replacements: tuple[tuple[str, str], ...], model: RoleModel
) -> None:
    assert compiled(*replacements) == model


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("r = sub, dom, obj, act", "r = sub, obj, act", "[request_definition]"),
        ("r = sub, dom, obj, act", "r = sub, dom, obj, act\nr2 = sub", "[request_definition]"),
        ("p = sub, dom, obj, act, eft", "p = sub, dom, obj, act", "[policy_definition]"),
        ("p = sub, dom, obj, act, eft", "p = priority, sub, dom, obj, act, eft", "[policy_definition]"),
        ("g = _, _, _", "g = _, _", "[role_definition]"),
        ("g = _, _, _", "g = _, _, _\ng2 = _, _", "[role_definition]"),
        ("g = _, _, _", "", "[role_definition]"),
        (" && !some(where (p.eft == deny))", "", "[policy_effect]"),
        ("e = some(where (p.eft == allow)) &&", "e =", "[policy_effect]"),
        ("p.obj == r.obj", "keyMatch(r.obj, p.obj)", "keyMatch"),
        ("p.obj == r.obj", "regexMatch(r.obj, p.obj)", "regexMatch"),
        ("p.obj == r.obj", "r.obj in (p.obj)", "[matchers]"),
        ("p.obj == r.obj", "p.obj == r.act", "[matchers]"),
        ("p.obj == r.obj", "p.obj != r.obj", "[matchers]"),
        ("p.obj == r.obj", "p.obj >= r.obj", "[matchers]"),
        ("p.obj == r.obj", "!(p.obj == r.obj)", "[matchers]"),
        (' || p.obj == "*"', ' || r.obj == "*"', "[matchers]"),
        (' || p.obj == "*"', ' || p.obj == "**"', "[matchers]"),
        (' || p.obj == "*"', " || true", "[matchers]"),
        (' && (p.obj == r.obj || p.obj == "*")', "", "no part about obj"),
        ("g(r.sub, p.sub, r.dom)", "g(r.sub, p.sub, p.dom)", "[matchers]"),
        ("g(r.sub, p.sub, r.dom)", "r.sub == p.sub", "[matchers]"),
        ('r.sub != "anonymous"', 'r.sub != "nobody"', "[matchers]"),
        (' && (r.sub != "anonymous" || p.eft == "deny")', "", "[matchers]"),
        ("m = (g", 'm = r.sub == "root" || (g', "[matchers]"),
        ("m = (g", 'm = r.sub != "mallory" && (g', "[matchers]"),
        ("m = (g", "m = eval(p.sub_rule) && (g", "[matchers]"),
        ("m = (g", "m = ((g", "[matchers] at character"),
        ("m = (g", "m = r.sub.age > 18 && (g", "[matchers]"),
        ("[matchers]\nm =", "[matchers]\nm2 =", "[matchers]"),
    ],
)
def test_a_model_that_cannot_be_compiled_is_refused_with_the_part(old: str, new: str, part: str) -> None:
    refused = compiled((old, new))
    assert isinstance(refused, ModelInvalid)
    assert part in refused.message


@pytest.mark.parametrize(
    "text",
    ["", "\0", "no model", "[matchers]", "[request_definition]\nr = sub, dom, obj, act\n", "x" * 100_000],
)
def test_an_invalid_model_is_refused_in_one_line(text: str) -> None:
    refused = compile_model(text)
    assert isinstance(refused, ModelInvalid)
    assert len(refused.message) < 300


@given(
    st.lists(
        st.sampled_from([*TEXT.splitlines(keepends=True), "\n", "m = g(\n", "[x]\n", "=\n"]), max_size=14
    )
)
def test_shuffled_lines_never_raise(lines: list[str]) -> None:
    assert isinstance(compile_model("".join(lines)), RoleModel | ModelInvalid)


def test_where_the_model_knows_no_wildcard_a_star_is_a_name() -> None:
    narrow = compiled((WILD_OBJECT, ""), (EVERYONE, ""))
    assert isinstance(narrow, RoleModel)
    everyone = RoleRule("a", "*", SubjectKind.ANY, "*", "doc", "*", Effect.ALLOW)
    anything = RoleRule("b", "x", SubjectKind.USER, "*", "*", "*", Effect.ALLOW)
    index = RoleIndex.of([everyone, anything], narrow)

    def decided(obj: str) -> object:
        return index.decide(("user:x",), authenticated=True, dom=None, obj=obj, act="read")

    assert decided("doc") is None
    assert decided("*") is not None
