"""The text of a policy file, YAML or JSON, becomes a plain document; nothing in it is executed or coerced.

YAML is read as its JSON-like core: no aliases (a small text cannot expand), no tags (a `!!float nan` is no
number), no duplicate keys, no dates or base-60 numbers, `true` and `false` the only booleans, fractions as
exact decimals.
"""

import re
from collections.abc import Hashable
from decimal import Decimal
from typing import Final

import yaml

from extauthz.domain.problem import Problem
from extauthz.domain.strict_json import JsonRejected, read_json

MAX_DEPTH: Final = 128
MAX_TEXT_BYTES: Final = 64 * 1024 * 1024


class _Loader(yaml.CSafeLoader):
    """A safe loader whose scalars are strings, integers, decimals, booleans and null only."""

    yaml_implicit_resolvers = {}  # noqa: RUF012  # the base class declares it so


_TRUE_FALSE: Final = re.compile(r"^(?:true|false)$")
_NULL: Final = re.compile(r"^(?:null|~|)$")
_INTEGER: Final = re.compile(r"^[-+]?(?:0|[1-9][0-9]{0,307})$")
_FRACTION: Final = re.compile(r"^[-+]?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?$")

_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", _TRUE_FALSE, list("tf"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", _NULL, ["n", "~", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", _INTEGER, list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", _FRACTION, list("-+0123456789"))


def _decimal(loader: _Loader, node: yaml.ScalarNode) -> Decimal:
    return Decimal(str(loader.construct_scalar(node)))


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(str(loader.construct_scalar(node)))


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Hashable, object]:
    found: dict[Hashable, object] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(
                None, None, "a member name is a string", key_node.start_mark
            )
        if key in found:
            raise yaml.constructor.ConstructorError(
                None, None, f"the member {key!r} occurs twice", key_node.start_mark
            )
        found[key] = loader.construct_object(value_node, deep=True)
    return found


_Loader.add_constructor("tag:yaml.org,2002:float", _decimal)
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def read_document(text: bytes, *, is_json: bool) -> object | Problem:
    """Read a text that holds one document, None for an empty one."""
    documents = read_documents(text, is_json=is_json)
    if isinstance(documents, Problem):
        return documents
    if len(documents) > 1:
        return Problem("", f"holds {len(documents)} documents separated by '---', one is needed")
    return documents[0] if documents else None


def read_documents(text: bytes, *, is_json: bool, aliases: bool = False) -> list[object] | Problem:
    """Read every document of a text, which may use YAML aliases only when asked.

    A `Problem` says what is wrong, with line and column for YAML.
    """
    if len(text) > MAX_TEXT_BYTES:
        return Problem("", f"is larger than {MAX_TEXT_BYTES} bytes")
    if is_json:
        document = read_json(text, max_depth=MAX_DEPTH)
        return Problem("", document.problem) if isinstance(document, JsonRejected) else [document]
    try:
        return _read_yaml(text.decode("utf-8"), aliases=aliases)
    except UnicodeDecodeError as error:
        return Problem("", f"is not UTF-8 at byte {error.start}")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        return Problem("", f"{where}{error.problem or 'not YAML'}")
    except yaml.YAMLError as error:
        return Problem("", f"not YAML: {' '.join(str(error).split())}")


def _read_yaml(text: str, *, aliases: bool) -> list[object] | Problem:
    # The events come from libyaml one by one, so depth, aliases and tags are judged before anything is built.
    # Without tags only a scalar that a pattern above fits is read as a number.
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        line = event.start_mark.line + 1 if event.start_mark is not None else 0
        if isinstance(event, yaml.AliasEvent) and not aliases:
            return Problem("", f"line {line}: aliases are not part of policies")
        tag = getattr(event, "tag", None)
        if tag is not None:
            return Problem("", f"line {line}: tags are not part of policies, found {tag!r}")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                return Problem("", f"line {line}: is nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return list(yaml.load_all(text, Loader=_Loader))
