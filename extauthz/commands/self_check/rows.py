"""Known paths, hosts, names and JSON texts with their right answers, judged at every start.

A security check that an interpreter or a library reads differently answers as if nothing were wrong. So each
process judges known input with the very functions that requests meet, before it answers anything. A row is
here because some reading of it differed once, or because an attack needs it to.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from extauthz.domain.host import HostRejected, canonical_host
from extauthz.domain.names import name_problem
from extauthz.domain.path import canonical_verdict
from extauthz.domain.strict_json import JsonRejected, read_json


@dataclass(frozen=True, slots=True)
class WrongRow:
    """A row that came out wrong: what was read, and both answers."""

    reader: str
    given: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"the {self.reader} {self.given!r} is read as {self.got!r}, expected {self.expected!r}"


RowReader = Callable[[str], str]
SelfCheckRows = tuple[tuple[str, str], ...]


def wrong_rows(reader: str, judge: RowReader, rows: Iterable[tuple[str, str]]) -> Iterator[WrongRow]:
    """Judge each row, what is given and what has to come out; an exception is a wrong answer too."""
    for given, expected in rows:
        try:
            got = judge(given)
        except Exception as error:  # noqa: BLE001 - no input may raise
            got = type(error).__name__
        if got != expected:
            yield WrongRow(reader, given, expected, got)


_PATHS: SelfCheckRows = (
    ("/", "/"),
    ("/a", "/a"),
    ("/a/b/", "/a/b/"),
    ("/a.b/..c/.well-known/...", "/a.b/..c/.well-known/..."),
    ("/%7Euser/%c3%a9?x=/../", "/~user/%C3%A9"),
    ("/a/..", "dot_segment"),
    ("/a/../", "dot_segment"),
    ("/a/.", "dot_segment"),
    ("/a/./b", "dot_segment"),
    ("/a/b/../../c", "dot_segment"),
    ("/..", "dot_segment"),
    ("/a/%2e%2E", "dot_segment"),
    ("/a/%EF%BC%8E%E2%80%A4/b", "dot_segment"),
    ("/a//", "empty_segment"),
    ("/a/b//c", "empty_segment"),
    ("//a", "empty_segment"),
    ("/a%2f..%2fb", "encoded_slash"),
    ("/a\\..\\b", "backslash"),
    ("/a%5cb", "backslash"),
    ("/a;b", "path_parameter"),
    ("/a%3Bb", "path_parameter"),
    ("/a%CD%BEb", "path_parameter"),
    ("/a%252e", "double_encoding"),
    ("/a%25%C2%B2e", "double_encoding"),
    ("/a%25%F0%9C%B3%B2e", "double_encoding"),
    ("/a%E2%88%95b", "slash_lookalike"),
    ("/a%20", "edge_whitespace"),
    ("/a/%E3%80%80b", "edge_whitespace"),
    ("/a%00b", "control_character"),
    ("/a%C2%85b", "control_character"),
    ("/a%c0%af", "invalid_utf8"),
    ("/a%zz", "malformed_escape"),
    ("/a%u002e", "malformed_escape"),
    ("/a#b", "fragment"),
    ("/\xe9", "raw_non_ascii"),
    ("http://a/b", "absolute_form"),
    ("a", "not_rooted"),
    ("", "empty"),
    ("/" + "a/" * 4000 + "..", "dot_segment"),
    ("/" + "a" * 8192, "too_long"),
)

_HOSTS: SelfCheckRows = (
    ("Acme.Local.:8443", "acme.local"),
    ("xn--bcher-kva.example", "xn--bcher-kva.example"),
    ("127.0.0.1", "127.0.0.1"),
    ("[0:0::1]:80", "[::1]"),
    ("[::FFFF:7F00:1]", "[::ffff:127.0.0.1]"),
    ("xn--999999999999999809999999a", "bad_a_label"),
    ("xn--example-", "bad_a_label"),
    ("127.1", "bad_address"),
    ("0x7f.0.0.1", "bad_address"),
    ("127.0.0.01", "bad_address"),
    ("[::1%eth0]", "illegal_character"),
    ("::1", "bad_address"),
    ("a..b", "empty_label"),
    ("a:99999", "bad_port"),
    ("a@b", "userinfo"),
    ("\uff41", "non_ascii"),
    ("", "empty"),
)

_NAMES: SelfCheckRows = (
    ("alice@example.com", "canonical"),
    ("Zo\xeb", "canonical"),
    ("\U0001fae8", "canonical"),
    ("a\u200bb", "contains the invisible format character U+200B"),
    ("a\U0001343fb", "contains the invisible format character U+1343F"),
    ("a\ufe0f", "contains the invisible character U+FE0F"),
    ("a\nb", "contains the control character U+000A"),
    ("e\u0301", "is not in Unicode normalization form NFC"),
    ("a\u0897", "is not normalized by every supported version of Unicode because of U+0897"),
    ("a\xa0", "begins or ends with white space"),
)

_JSON: SelfCheckRows = (
    ('{"a":[1,"\\u00e9",null]}', "{'a': [1, 'é', None]}"),
    ("1.10", "Decimal('1.10')"),
    ('{"a":1,"\\u0061":2}', "refused"),
    ("NaN", "refused"),
    ("-Infinity", "refused"),
    ("1e999", "refused"),
    ("\u0661", "refused"),
    ("1_000", "refused"),
    ('"\\ud800"', "refused"),
    ('"\n"', "refused"),
    ("[" * 100 + "]" * 100, "refused"),
    ("\ufeff{}", "refused"),
)


def path_rows() -> Iterator[WrongRow]:
    """Yield the rows of paths that come out wrong, which `extauthz path canonical` depends on."""
    yield from wrong_rows("path", _path, _PATHS)


def domain_rows() -> Iterator[WrongRow]:
    """Yield the rows of this module that come out wrong."""
    yield from path_rows()
    yield from wrong_rows("host", _host, _HOSTS)
    yield from wrong_rows("name", _name, _NAMES)
    yield from wrong_rows("JSON text", _json, _JSON)


def _path(raw: str) -> str:
    verdict = canonical_verdict(raw.encode())
    return verdict.get("path") or verdict["rejected"]


def _host(raw: str) -> str:
    host = canonical_host(raw)
    return host.reason.value if isinstance(host, HostRejected) else host


def _name(raw: str) -> str:
    return name_problem(raw) or "canonical"


def _json(raw: str) -> str:
    value = read_json(raw.encode())
    return "refused" if isinstance(value, JsonRejected) else repr(value)
