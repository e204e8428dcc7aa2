"""The text of a file in its one form, or why it has none.

INVARIANT: what is read of the new text is what was read of the old one, and the comments are the same in the
same order; a text of which that is not true is left as it is.
"""

import yaml

from extauthz.compile.documents.policy_files import read_text
from extauthz.compile.documents.yaml_text import YamlDocuments
from extauthz.domain.problem import Problem
from extauthz.folders.formatting.form import text_of
from extauthz.folders.formatting.json_form import json_form
from extauthz.folders.formatting.nodes import comments_of, nodes_of

_CHANGED = "cannot be formatted without a change of {}; it is left as it is"


def formatted(text: bytes, *, is_json: bool) -> bytes | Problem:
    """Return the text of a file in its one form."""
    before = read_text(text, is_json=is_json, aliases=True)
    if isinstance(before, Problem):
        return before
    # A byte order mark does not belong to the text; line ends are read alike.
    source = text.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n")
    if is_json:
        return _unless_changed(json_form(source), before, is_json=True)
    try:
        result = text_of(nodes_of(source))
        if [each.text for each in comments_of(source)] != [each.text for each in comments_of(result)]:
            return Problem("", _CHANGED.format("its comments"))
    except yaml.YAMLError:
        return Problem("", _CHANGED.format("its meaning"))
    return _unless_changed(result, before, is_json=False)


def _unless_changed(result: str, before: YamlDocuments, *, is_json: bool) -> bytes | Problem:
    encoded = result.encode()
    after = read_text(encoded, is_json=is_json, aliases=True)
    if isinstance(after, Problem) or not same_values(before.documents, after.documents):
        return Problem("", _CHANGED.format("its meaning"))
    return encoded


def same_values(one: object, other: object) -> bool:
    """Tell whether documents are the same: members in their order, numbers as written, no type changed."""
    waiting = [(one, other)]
    while waiting:
        left, right = waiting.pop()
        if type(left) is not type(right):
            return False
        if isinstance(left, dict) and isinstance(right, dict):
            if list(left) != list(right):
                return False
            waiting.extend((left[name], right[name]) for name in left)
        elif isinstance(left, list) and isinstance(right, list):
            if len(left) != len(right):
                return False
            waiting.extend(zip(left, right, strict=True))
        elif left is not right and str(left) != str(right):
            return False
    return True
