"""The one form of YAML and JSON: it changes neither values nor comments, and is the form of itself."""

import json
import random

import yaml
from hypothesis import assume, given
from hypothesis import strategies as st

from extauthz.compile.documents.policy_files import read_text
from extauthz.compile.documents.yaml_text import YamlDocuments
from extauthz.folders.formatting.nodes import comments_of
from extauthz.folders.formatting.text import formatted, same_values

NAMES = st.sampled_from(
    ["id", "name", "a b", "x:y", "yes", "1", "#n", "", "k-1", "ü", "long name of a member"]
)
TEXTS = st.one_of(
    st.sampled_from(
        [
            "*",
            "/a/{b}",
            "a: b",
            "a #b",
            "yes",
            "null",
            "0x1f",
            "2026-01-05",
            "it's",
            'say "no"',
            "^a\\d$",
            " lead",
            "trail ",
            "two\nlines",
            "two\nlines\n",
            "\n\nlate\n\n",
            "  indented\n first",
            "a\tb",
            "\u2028",
            "\x07",
            "-",
            "- a",
            "? a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`a",
            "w " * 90,
        ]
    ),
    st.text(max_size=12).filter(lambda text: text.isprintable() or "\n" in text),
)
SCALARS = st.one_of(TEXTS, st.booleans(), st.none(), st.integers(-(10**6), 10**6))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=14,
)


class _Styles(yaml.SafeDumper):
    """Writes each part in a style of its own."""

    chance: random.Random

    def represent_scalar(self, tag, value, style=None):  # type: ignore[no-untyped-def]
        if tag == "tag:yaml.org,2002:str":
            style = self.chance.choice([None, "'", '"', "|", ">"])
        return super().represent_scalar(tag, value, style)

    def represent_mapping(self, tag, mapping, flow_style=None):  # type: ignore[no-untyped-def]
        return super().represent_mapping(tag, mapping, self.chance.random() < 0.4)

    def represent_sequence(self, tag, sequence, flow_style=None):  # type: ignore[no-untyped-def]
        return super().represent_sequence(tag, sequence, self.chance.random() < 0.4)

    def ignore_aliases(self, data):  # type: ignore[no-untyped-def]
        return True


def _dumped(value: object, chance: random.Random) -> str:
    class Dumper(_Styles):
        pass

    Dumper.chance = chance
    return str(
        yaml.dump(
            value,
            Dumper=Dumper,
            indent=chance.choice([2, 3, 4]),
            width=chance.choice([20, 80, 300]),
            sort_keys=False,
            allow_unicode=chance.random() < 0.7,
            explicit_start=chance.random() < 0.2,
        )
    )


def _with_comments(text: str, chance: random.Random) -> str:
    """Add comments and empty lines where that keeps the values; places inside of scalars are left out."""
    lines = text.split("\n")
    before = read_text(text.encode(), is_json=False, aliases=True)
    assert isinstance(before, YamlDocuments)
    for number in range(chance.randrange(6)):
        tried = list(lines)
        at = chance.randrange(len(tried))
        match chance.randrange(4):
            case 0:
                tried[at] += f"  # end {number}"
            case 1:
                tried.insert(at, " " * chance.choice([0, 0, 2, 4, 6]) + f"# own {number}")
            case 2:
                tried.insert(at, "")
            case _:
                tried[at] = tried[at].replace(", ", f", # in {number}\n  ", 1)
        after = read_text("\n".join(tried).encode(), is_json=False, aliases=True)
        if isinstance(after, YamlDocuments) and same_values(before.documents, after.documents):
            lines = tried
    return "\n".join(lines)


@given(st.lists(VALUES, min_size=1, max_size=2), st.integers(0, 2**32))
def test_yaml_keeps_its_values_and_comments_and_is_formatted_once(values: list[object], seed: int) -> None:
    chance = random.Random(seed)
    text = "---\n".join(_dumped(value, chance).removesuffix("...\n") for value in values)
    before = read_text(text.encode(), is_json=False, aliases=True)
    # What PyYAML writes in YAML 1.1 is not always what is read here.
    assume(isinstance(before, YamlDocuments))
    text = _with_comments(text, chance)
    before = read_text(text.encode(), is_json=False, aliases=True)
    assert isinstance(before, YamlDocuments)
    result = formatted(text.encode(), is_json=False)
    assert isinstance(result, bytes), (result, text)
    after = read_text(result, is_json=False, aliases=True)
    assert isinstance(after, YamlDocuments)
    assert same_values(before.documents, after.documents)
    assert [each.text for each in comments_of(text)] == [each.text for each in comments_of(result.decode())]
    assert formatted(result, is_json=False) == result, text


@given(VALUES, st.sampled_from([None, 0, 1, 7]))
def test_json_keeps_its_values_and_is_formatted_once(value: object, indent: int | None) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=indent == 1).encode()
    before = read_text(text, is_json=True, aliases=True)
    assume(isinstance(before, YamlDocuments))
    result = formatted(text, is_json=True)
    assert isinstance(result, bytes), result
    assert json.loads(result) == value
    assert formatted(result, is_json=True) == result


@given(st.text(alphabet="ab:-#{}[],&*!|>'\"%@`?\\ \n\t.~0é\u2028\r\ufeff", max_size=40))
def test_any_text_is_formatted_once_or_left(text: str) -> None:
    result = formatted(text.encode(), is_json=False)
    if isinstance(result, bytes):
        assert formatted(result, is_json=False) == result
