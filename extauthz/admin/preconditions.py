"""`ETag` and `If-Match` (RFC 9110 13.1.1), and `Idempotency-Key` as a header.

An entity tag is the revision of a row, or of the tenant, in quotes. Errors: `ProblemError` 400 for a header
that cannot be parsed.
"""

import re
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers

from extauthz.admin.problems import ParameterProblem, malformed

IDEMPOTENCY_KEY: Final = "Idempotency-Key"
MAX_KEY: Final = 255
_ENTITY_TAG: Final = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*+)"')
_ENTITY_TAGS: Final = re.compile(
    # RFC 9110 5.6.1: a list, of which elements may be empty.
    rf"[ \t,]*+{_ENTITY_TAG.pattern}[ \t]*+(?:,[ \t]*+(?:{_ENTITY_TAG.pattern}[ \t]*+)?)*"
)
_REVISION: Final = re.compile("0|[1-9][0-9]{0,17}")
_STRING: Final = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
"""A String of RFC 9651 3.3.3."""
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~:/=@0-9A-Za-z]+")
"""A key without quotes, which many clients send."""


@dataclass(frozen=True, slots=True)
class IfMatch:
    """`If-Match`: the revisions under which the write may proceed; None is `*`."""

    revisions: frozenset[int] | None

    def allows(self, revision: int | None) -> bool:
        """Tell whether a row in this state (None: there is no row) matches."""
        if revision is None:
            return False
        return self.revisions is None or revision in self.revisions


def entity_tag(revision: int) -> str:
    """Return the strong entity tag of a row; its revision changes with every write."""
    return f'"{revision}"'


def read_if_match(headers: Headers) -> IfMatch | None:
    """Read `If-Match`. Weak tags never match, nor do tags other than revisions."""
    lines = headers.getlist("if-match")
    if not lines:
        return None
    text = ",".join(lines).strip()
    if text == "*":
        return IfMatch(None)
    if not _ENTITY_TAGS.fullmatch(text):
        raise malformed("If-Match is not '*' or a list of quoted entity tags")
    return IfMatch(
        frozenset(
            int(tag) for weak, tag in _ENTITY_TAG.findall(text) if not weak and _REVISION.fullmatch(tag)
        )
    )


def read_idempotency_key(headers: Headers) -> str | None:
    """Read `Idempotency-Key`: a String of RFC 9651, or the same text without quotes."""
    lines = headers.getlist(IDEMPOTENCY_KEY)
    if not lines:
        return None
    text = lines[0].strip(" \t")
    found = _STRING.fullmatch(text)
    key = re.sub(r"\\(.)", r"\1", found[1]) if found else text if _TOKEN.fullmatch(text) else ""
    if len(lines) > 1 or not 0 < len(key) <= MAX_KEY or key != key.strip(" "):
        message = f"must be one string of 1 to {MAX_KEY} printable ASCII characters in quotes"
        raise malformed(f"{IDEMPOTENCY_KEY} {message}", ParameterProblem(IDEMPOTENCY_KEY, message))
    return key
