"""The text of a policy file, YAML or JSON, becomes a plain document; nothing in it is executed or coerced.

YAML is read as its JSON-like core: no aliases (a small text cannot expand), no tags (a `!!float nan` is not a
number), no duplicate keys, no dates or base-60 numbers, `true` and `false` the only booleans, fractions as
exact decimals.
"""

from typing import Final

import yaml

from extauthz.compile.documents.yaml_text import MAX_DEPTH, PARSER, Parser, YamlDocuments, read_yaml
from extauthz.domain.problem import Problem
from extauthz.domain.strict_json import JsonRejected, read_json

MAX_TEXT_BYTES: Final = 64 * 1024 * 1024


def read_document(text: bytes, *, is_json: bool, max_bytes: int | None = MAX_TEXT_BYTES) -> object | Problem:
    """Read a text that holds one document, None for an empty one; `max_bytes` None for no limit."""
    documents = read_documents(text, is_json=is_json, max_bytes=max_bytes)
    if isinstance(documents, Problem):
        return documents
    if len(documents) > 1:
        return Problem("", f"holds {len(documents)} documents separated by '---', one is needed")
    return documents[0] if documents else None


def read_documents(
    text: bytes,
    *,
    is_json: bool,
    aliases: bool = False,
    max_bytes: int | None = MAX_TEXT_BYTES,
    parser: Parser = PARSER,
) -> list[object] | Problem:
    """Read every document of a text, which may use YAML aliases only when asked.

    A `Problem` says what is wrong, with line and column for YAML.
    """
    found = read_text(text, is_json=is_json, aliases=aliases, max_bytes=max_bytes, parser=parser)
    return found if isinstance(found, Problem) else found.documents


def read_text(
    text: bytes,
    *,
    is_json: bool,
    aliases: bool,
    max_bytes: int | None = MAX_TEXT_BYTES,
    parser: Parser = PARSER,
) -> YamlDocuments | Problem:
    """Read every document of a text like `read_documents`, and where its first alias is."""
    if max_bytes is not None and len(text) > max_bytes:
        return Problem("", f"is larger than {max_bytes} bytes")
    if is_json:
        document = read_json(text, max_depth=MAX_DEPTH)
        if isinstance(document, JsonRejected):
            return Problem("", document.problem)
        return YamlDocuments([document], None)
    try:
        return read_yaml(text.decode("utf-8"), aliases=aliases, parser=parser)
    except UnicodeDecodeError as error:
        return Problem("", f"is not UTF-8 at byte {error.start}")
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""
        return Problem("", f"{where}{error.problem or 'not YAML'}")
    except yaml.YAMLError as error:
        return Problem("", f"not YAML: {' '.join(str(error).split())}")
