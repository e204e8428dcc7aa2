"""The one form of a text: what changes, what stays, and what is left."""

import pytest

from extauthz.domain.problem import Problem
from extauthz.folders.formatting.text import formatted

BEFORE = """\


# head

# second
role_rules:  # rules
    - {id: a}  # one
    - # dash
      id: 'b'
      text: |  # literal
          one
          two
      # foot of b
    # foot of the list
other: # o
  # lead
  k: 1


  j: "*"
list:
- a
- [b, # in b
   c] # behind the list
# before last
last: >-
  folded
  text

flow: {a: 'x y', "b": "/invoices/{n}", c: [1, 0.10, "yes", 'it''s', "a\\\\d"], d: , e: "r: s"}
nest:
  - - x
    - y
  -
    - z
    # foot of z
# end
---
# two
{} # empty
"""
AFTER = """\
# head

# second
role_rules:  # rules
  - {id: a}  # one
  # dash
  - id: b
    text: |  # literal
      one
      two
    # foot of b
  # foot of the list
other:  # o
  # lead
  k: 1

  j: "*"
list:
  - a
  - - b  # in b
    - c
    # behind the list
# before last
last: >-
  folded
  text

flow: {a: x y, b: "/invoices/{n}", c: [1, 0.10, "yes", "it's", 'a\\d'], d: null, e: "r: s"}
nest:
  - - x
    - y
  - - z
    # foot of z
# end
---
# two
{}  # empty
"""


def test_layout_changes_and_comments_stay_where_they_belong() -> None:
    assert formatted(BEFORE.encode(), is_json=False) == AFTER.encode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("a: 1", "a: 1\n"),
        ("\ufeffa: 1\r\nb:\r\n- c\r\n", "a: 1\nb:\n  - c\n"),
        ("a: &x {b: 1}\nc: *x\n", "a: &x {b: 1}\nc: *x\n"),
        ("a: &x\n    b: 1\nc: [*x]\n", "a: &x\n  b: 1\nc: [*x]\n"),
        ("- &x\n  a: 1\n- *x\n", "- &x\n  a: 1\n- *x\n"),
        ("&k a: 1\nb: {*k : 2}\n", "&k a: 1\nb: {*k : 2}\n"),
        ("a: |2\n   x\n  y\n", "a: |2\n   x\n  y\n"),
        ("- |2-\n   x\n  y\n", "- |2-\n   x\n  y\n"),
        ("a: |+\n  x\n\nb: 1\n", 'a: "x\\n\\n"\n\nb: 1\n'),
        ("a: two\n  lines\n", "a: two lines\n"),
        ('a: "\\e[31m"\n', 'a: "\\x1b[31m"\n'),
        ("a: '2026-01-05'\nb: 2026-01-05\n", 'a: "2026-01-05"\nb: 2026-01-05\n'),
        ("a: ['y', \"N\", '0o17', '08', 'yy', 'v08']\n", 'a: ["y", "N", "0o17", "08", yy, v08]\n'),
        ("%YAML 1.1\n---\na: 1\n...\n", "a: 1\n"),
        ("# only a comment\n", "# only a comment\n"),
        ("", ""),
        ("a: [ # nothing\n  ]\n", "a: []  # nothing\n"),
        ("a: [x: 1]\n", "a: [{x: 1}]\n"),
        (f"a: [{', '.join(['word'] * 30)}]\n", "a:\n" + "  - word\n" * 30),
        ("? a\n: b\n", "a: b\n"),
    ],
)
def test_a_text_has_one_form(before: str, after: str) -> None:
    assert formatted(before.encode(), is_json=False) == after.encode()
    assert formatted(after.encode(), is_json=False) == after.encode()


def test_json_keeps_its_literals() -> None:
    text = b'{"a":[1.0,1e3,"\\u00e9\\/",{}],"b":{},"c":[ ]}'
    after = b'{\n  "a": [\n    1.0,\n    1e3,\n    "\\u00e9\\/",\n    {}\n  ],\n  "b": {},\n  "c": []\n}\n'
    assert formatted(text, is_json=True) == after
    assert formatted(after, is_json=True) == after


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a: 1\na: 2\n", "line 2, column 1: the member 'a' occurs twice"),
        (b"a: [\n", "line 2, column 1: "),
        (b"a: \xff\n", "is not UTF-8 at byte 3"),
        (b"a: !x b\n", "line 1: tags are not part of policies"),
        # A name of more than 1,024 characters has no plain form.
        (b"? " + b"n" * 2000 + b"\n: 1\n", "cannot be formatted without a change of its meaning"),
    ],
)
def test_a_text_that_cannot_be_read_or_kept_is_left(text: bytes, said: str) -> None:
    found = formatted(text, is_json=False)
    assert isinstance(found, Problem)
    assert found.message.startswith(said)
