"""Shapes hold values with their type, and give back the path and the claims that judging reads."""

from decimal import Decimal
from types import MappingProxyType

import pytest

from extauthz.domain.claims import claim_at
from extauthz.domain.path import CanonicalPath
from extauthz.recording.shape import (
    ABSENT,
    FOLDED,
    MAX_LITERAL,
    UNKNOWN,
    Shape,
    claims_of,
    literal,
    path_of,
    text_of,
    value_of,
)
from tests.user_shapes import user_shape


def shape(template: str | None = None, **slots: str) -> Shape:
    return user_shape(
        slots, tenant="acme", token_tenant="acme", domain="sales", own_roles=("reader",), template=template
    )


VALUES = [
    "alice",
    "",
    "3",
    "true",
    'a "quoted" \\ line\nand NUL \0 and DEL \x7f',
    "\u2028 é 漢",
    "absent",
    "folded",
    True,
    False,
    0,
    -3,
    10**30,
    Decimal("1.50"),
    Decimal("1E+5"),
    Decimal("-0.0"),
    (),
    ("a", 1, True, Decimal("2.5"), None, ("b",)),
    MappingProxyType({"a": MappingProxyType({"b": (1,)}), "": "x"}),
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_value_comes_back_with_its_type(value: object) -> None:
    text = literal(value)

    assert repr(value_of(text)) == repr(value)


def test_values_of_different_types_have_different_texts() -> None:
    assert len({literal(value) for value in (1, "1", True, "true", Decimal("1.0"), ("1",), None)}) == 7


@pytest.mark.parametrize(
    "value",
    ["a\ud800", ("a\udfff",), "x" * MAX_LITERAL, object()],
    # Workers that run tests compare their lists: an address in a name would differ between them.
    ids=["surrogate", "surrogate in a list", "too long", "another type"],
)
def test_value_that_cannot_be_kept_is_folded(value: object) -> None:
    assert literal(value) == FOLDED


@pytest.mark.parametrize("text", [ABSENT, UNKNOWN, FOLDED, "3", None])
def test_slot_without_text_has_no_text(text: str | None) -> None:
    assert text_of(text) is None


@pytest.mark.parametrize(
    ("path", "template", "slots"),
    [
        ("/", "/", {}),
        ("/orders", "/orders", {}),
        ("/orders/", "/orders/", {}),
        ("/orders/a%2Bb", "/orders/{id}", {"{id}": '"a%2Bb"'}),
        ("/a/1/b/2", "/a/{x}/b/{y}", {"{x}": '"1"', "{y}": '"2"'}),
        ("/files", "/files/**", {"/**": '""'}),
        ("/files/", "/files/**", {"/**": '"/"'}),
        ("/files/a/b", "/files/**", {"/**": '"/a/b"'}),
        ("/u/7/x/y", "/u/{id}/**", {"{id}": '"7"', "/**": '"/x/y"'}),
        ("/any/thing", "/**", {"/**": '"/any/thing"'}),
        ("/un/mapped", None, {"request.path": '"/un/mapped"'}),
    ],
)
def test_path_is_rebuilt(path: str, template: str | None, slots: dict[str, str]) -> None:
    rebuilt = path_of(shape(template, **slots))

    assert rebuilt == path
    assert isinstance(CanonicalPath.parse(rebuilt), CanonicalPath)


@pytest.mark.parametrize(
    ("template", "slots"),
    [
        ("/orders/{id}", {"{id}": FOLDED}),
        ("/files/**", {"/**": FOLDED}),
        (None, {"request.path": FOLDED}),
        ("/orders/{id}", {}),
        ("no template", {}),
    ],
)
def test_path_with_an_unknown_part_is_not_guessed(template: str | None, slots: dict[str, str]) -> None:
    assert path_of(shape(template, **slots)) is None


def test_claims_are_found_by_their_names() -> None:
    given = shape(
        **{
            "user.id": '"alice"',
            "user.department": '"sales"',
            "user.address.city": '"Bern"',
            "user.level": "3",
            "user.left": ABSENT,
            "user.address.street": ABSENT,
            "user.long": FOLDED,
            "request.headers.x-a": '"1"',
        }
    )

    claims = claims_of(given)

    assert dict(claims) == {"department": "sales", "address.city": "Bern", "level": 3}
    assert claim_at(claims, "address.city") == "Bern"
    assert given.slot("user.left") == ABSENT
    assert given.slot("user.right") is None
