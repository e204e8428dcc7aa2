import json
import re
import time
import unicodedata
from pathlib import Path

import pytest

from extauthz.domain.path import (
    MAX_PATH_LENGTH,
    CanonicalPath,
    PathProblem,
    PathRejected,
    canonical_verdict,
    decode_segment,
    parse_target,
    split_query,
)

SECURITY = (Path(__file__).parents[3] / "docs" / "security.md").read_text(encoding="utf-8")


def documented_rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    section = SECURITY.split(f"### {heading}\n", 1)[1].split("\n#", 1)[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return rows[2:]


REFUSED = [
    (row[0].strip("`"), example)
    for row in documented_rows("Paths that are refused")
    for example in (re.findall("`([^`]+)`", row[3]) if len(row) > 3 else [])
]
PASSING = [
    (row[0].strip("`"), row[1].strip("`")) for row in documented_rows("Paths that pass, and stay apart")
]


def rejection(raw: str) -> str | None:
    parsed = CanonicalPath.parse(raw)
    return parsed.reason.value if isinstance(parsed, PathRejected) else None


def canonical(raw: str) -> CanonicalPath:
    parsed = CanonicalPath.parse(raw)
    assert isinstance(parsed, CanonicalPath), parsed
    return parsed


def test_every_reason_has_its_row_in_the_security_document() -> None:
    documented = [row[0].strip("`") for row in documented_rows("Paths that are refused")]
    assert sorted(documented) == sorted(problem.value for problem in PathProblem)


def test_the_documented_tables_have_examples() -> None:
    assert len(REFUSED) > 40
    assert len(PASSING) > 10


@pytest.mark.parametrize(("reason", "raw"), REFUSED)
def test_documented_examples_are_refused_for_the_documented_reason(reason: str, raw: str) -> None:
    assert canonical_verdict(raw.encode()) == {"rejected": reason}


@pytest.mark.parametrize(("raw", "text"), PASSING)
def test_documented_examples_pass_in_the_documented_form(raw: str, text: str) -> None:
    assert canonical_verdict(raw.encode()) == {"path": text}


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("/", "/"),
        ("/a", "/a"),
        ("/a.b", "/a.b"),
        ("/a..b/..c/d..", "/a..b/..c/d.."),
        ("/.hidden", "/.hidden"),
        ("/.../....", "/.../...."),
        ("/~user", "/~user"),
        ("/a@b:c", "/a@b:c"),
        ("/a,b=c", "/a,b=c"),
        ("/!$&'()*+,=:@-._~", "/!$&'()*+,=:@-._~"),
        ("/a%2Cb", "/a%2Cb"),
        ("/a%2cb", "/a%2Cb"),
        ("/%41%5a%61%7A%30%39%2d%2E%5F%7e", "/AZaz09-._~"),
        ("/%c3%a9t%c3%a9", "/%C3%A9t%C3%A9"),
        ("/%F0%9F%92%B6", "/%F0%9F%92%B6"),
        ("/a%20b%20c", "/a%20b%20c"),
        ("/%7Bid%7D", "/%7Bid%7D"),
        ("/100%25/x", "/100%25/x"),
        ("/%25%2E", "/%25."),
        ("/%25%25", "/%25%25"),
        ("/%E2%80%A6", "/%E2%80%A6"),
        ("/%E4%BD%A0%E5%A5%BD%EF%BC%9F", "/%E4%BD%A0%E5%A5%BD%EF%BC%9F"),
        ("/a%EF%BC%9Bb", "/a%EF%BC%9Bb"),
        ("/a%EF%BC%8Eb", "/a%EF%BC%8Eb"),
        ("/" + "a" * (MAX_PATH_LENGTH - 1), "/" + "a" * (MAX_PATH_LENGTH - 1)),
    ],
)
def test_paths_that_every_server_reads_alike_pass(raw: str, text: str) -> None:
    assert canonical(raw).text == text
    assert canonical(text).text == text


# CPython 3.11.2 matches a possessive group wrongly: plain segments hid what stands at the end.
@pytest.mark.parametrize("prefix", ["", "/a", "/a/b", "/.a", "/..a", "/a.", "/a" * 4_000])
@pytest.mark.parametrize(
    ("ending", "reason"),
    [
        ("/..", "dot_segment"),
        ("/../", "dot_segment"),
        ("/.", "dot_segment"),
        ("/./", "dot_segment"),
        ("/../b", "dot_segment"),
        ("/./b", "dot_segment"),
        ("//", "empty_segment"),
        ("//b", "empty_segment"),
        ("/%2e%2e", "dot_segment"),
        ("/.%2e/", "dot_segment"),
    ],
)
def test_dot_segments_and_empty_segments_are_refused_below_every_prefix(
    prefix: str, ending: str, reason: str
) -> None:
    assert rejection(prefix + ending) == reason


def test_segments_are_the_parts_between_the_slashes() -> None:
    assert canonical("/").segments == ("",)
    assert canonical("/a").segments == ("a",)
    assert canonical("/a/").segments == ("a", "")
    assert canonical("/a/b%2cc/%64").segments == ("a", "b%2Cc", "d")


def test_segments_decode_once() -> None:
    assert decode_segment("plain") == "plain"
    assert decode_segment("a%40b%20%E2%82%AC") == "a@b €"
    assert decode_segment("100%25") == "100%"
    assert decode_segment("+") == "+"


FAMILIES: dict[str, list[str]] = json.loads(
    (Path(__file__).parents[2] / "fuzz" / "corpus" / "path.json").read_text(encoding="utf-8")
)
ATTACKS = [raw for family in FAMILIES.values() for raw in family]


@pytest.mark.parametrize("raw", ATTACKS)
def test_known_attacks_are_refused(raw: str) -> None:
    assert rejection(raw) in {problem.value for problem in PathProblem}


@pytest.mark.parametrize("prefix", ["/public", "/a/b/c", "/x%20y"])
@pytest.mark.parametrize("raw", [raw for raw in ATTACKS if re.match("/[^#]", raw)])
def test_known_attacks_are_refused_below_any_prefix(prefix: str, raw: str) -> None:
    assert rejection(prefix + raw) is not None
    assert rejection(prefix + raw + "/tail") is not None


@pytest.mark.parametrize("raw", ["/" + "a" * MAX_PATH_LENGTH, "/a" * 40_000, "/a?" * 40_000, "/%61" * 20_000])
def test_paths_beyond_the_limit_are_refused_for_any_content(raw: str) -> None:
    assert rejection(raw) == "too_long"


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "/a",
        "%2a",
        "a%2a",
        "%61",
        "%e2%82%ac",
        "%cc%81%cc%a3",
        "%20",
        "/.a",
        "%25",
        "/%2e%2e.",
        ":1",
        "%",
        "\\",
    ],
)
@pytest.mark.parametrize("prefix", ["/", "", "//", "/a"])
@pytest.mark.parametrize("suffix", ["", "/..", "#", "%ff", "%20"])
def test_hostile_paths_are_cheap(prefix: str, unit: str, suffix: str) -> None:
    raw = prefix + unit * ((MAX_PATH_LENGTH - 5) // len(unit)) + suffix

    def seconds() -> float:
        began = time.process_time()
        parse_target(raw)
        return time.process_time() - began

    # Under 1 ms on an idle machine; the bound distinguishes linear from quadratic time.
    assert min(seconds() for _ in range(3)) < 0.01


def test_the_query_does_not_count_against_the_limit() -> None:
    assert parse_target("/a?" + "q" * 40_000) == (canonical("/a"), "q" * 40_000)


def test_the_query_is_split_off_before_anything_is_decoded() -> None:
    assert split_query("/a") == ("/a", None)
    assert split_query("/a?") == ("/a", "")
    assert split_query("/a?b?c=%3F") == ("/a", "b?c=%3F")
    assert split_query("/a%3Fb") == ("/a%3Fb", None)


def test_a_target_is_the_canonical_path_and_the_raw_query() -> None:
    assert parse_target("/%61?x=%2e%2E;\\ é") == (canonical("/a"), "x=%2e%2E;\\ é")
    assert parse_target("/a") == (canonical("/a"), None)
    assert parse_target("/..?x") == PathRejected(PathProblem.DOT_SEGMENT)
    assert parse_target("?x") == PathRejected(PathProblem.EMPTY)
    assert parse_target("/a?x#y") == PathRejected(PathProblem.FRAGMENT)


def test_a_question_mark_cannot_be_smuggled_into_the_path() -> None:
    assert rejection("/a?b") == "illegal_character"


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        (b"", {"rejected": "empty"}),
        (b"/a\r", {"rejected": "control_character"}),
        (b"/\xff\xfe", {"rejected": "raw_non_ascii"}),
        (b"/a?\xff", {"path": "/a"}),
        (b"/caf\xc3\xa9", {"rejected": "raw_non_ascii"}),
        (b"/caf%c3%a9?x", {"path": "/caf%C3%A9"}),
    ],
)
def test_every_line_of_bytes_gets_a_verdict(line: bytes, verdict: dict[str, str]) -> None:
    assert canonical_verdict(line) == verdict


@pytest.fixture(scope="module")
def scalars() -> list[str]:
    """Every character that is not ASCII."""
    return [chr(code) for code in range(0x80, 0x110000) if not 0xD800 <= code <= 0xDFFF]


def escaped(text: str) -> str:
    return "".join(f"%{octet:02X}" for octet in text.encode())


def test_characters_that_fold_into_separators_are_those_of_the_unicode_database(scalars: list[str]) -> None:
    folding = [char for char in scalars if re.search(r"[/\\]", unicodedata.normalize("NFKC", char))]
    assert folding
    assert {rejection("/a" + escaped(char)) for char in folding} == {"slash_lookalike"}


def test_characters_that_fold_into_dot_segments_are_those_of_the_unicode_database(scalars: list[str]) -> None:
    folding = [char for char in scalars if unicodedata.normalize("NFKC", char) in {".", ".."}]
    assert folding
    assert {rejection(f"/{escaped(char)}/x") for char in folding} == {"dot_segment"}
    single = [char for char in folding if unicodedata.normalize("NFKC", char) == "."]
    assert {rejection(f"/{escaped(a)}{escaped(b)}/x") for a in single for b in single} == {"dot_segment"}


def test_characters_that_fold_into_semicolons_cannot_hide_dot_segments(scalars: list[str]) -> None:
    folding = [char for char in scalars if unicodedata.normalize("NFKC", char) == ";"]
    assert folding
    assert {rejection(f"/..{escaped(char)}x") for char in folding} == {"dot_segment"}
    normalising = [char for char in scalars if unicodedata.normalize("NFC", char) in set("/\\.;%")]
    assert {rejection("/a" + escaped(char)) for char in normalising} == {"path_parameter"}


def test_characters_that_fold_into_digits_cannot_hide_a_second_escape(scalars: list[str]) -> None:
    def folding(into: str) -> list[str]:
        return [char for char in scalars if re.fullmatch(into, unicodedata.normalize("NFKC", char))]

    hexadecimal = "[0-9A-Fa-f]"
    digits, percents, pairs = folding(hexadecimal), folding("%"), folding(hexadecimal + "{2}")
    assert min(len(digits), len(percents), len(pairs)) > 1
    assert {rejection(f"/%252{escaped(char)}") for char in digits} == {"double_encoding"}
    assert {rejection(f"/%25{escaped(char)}e") for char in digits} == {"double_encoding"}
    assert {rejection(f"/%25{escaped(char)}") for char in pairs} == {"double_encoding"}
    assert {rejection(f"/{escaped(char)}%C2%B2e") for char in percents} == {"double_encoding"}
    # A mark that folding joins to a digit does not hide the digit from a server that decodes first.
    assert rejection("/%252e%CC%81") == "double_encoding"
    assert rejection("/%254%EF%BD%83%CC%A7") == "double_encoding"
    assert rejection("/100%25%C3%A9") is None


def test_digits_that_fold_since_unicode_16_are_found_by_every_interpreter() -> None:
    outlined = {chr(0x1CCD6 + place): chr(0x41 + place) for place in range(6)}
    outlined |= {chr(0x1CCF0 + digit): str(digit) for digit in range(10)}
    assert {rejection(f"/%252{escaped(char)}") for char in outlined} == {"double_encoding"}
    assert {rejection(f"/%25{escaped(char)}e") for char in outlined} == {"double_encoding"}
    assert rejection(f"/%25{escaped(chr(0x1CCEA))}002e") == "double_encoding"
    assert rejection(f"/%25{escaped(chr(0x1CCDC))}e") is None


def test_white_space_of_the_unicode_database_is_refused_at_the_edges_only(scalars: list[str]) -> None:
    blanks = [char for char in scalars if char.isspace() and unicodedata.category(char) != "Cc"]
    assert len(blanks) > 10
    assert {rejection(f"/{escaped(char)}a") for char in blanks} == {"edge_whitespace"}
    assert {rejection(f"/a{escaped(char)}/b") for char in blanks} == {"edge_whitespace"}
    assert {rejection(f"/a{escaped(char)}b") for char in blanks} == {None}


@pytest.mark.parametrize("unit", ["a", "%20a"])
def test_a_path_of_8192_characters_is_canonical_and_one_more_is_too_long(unit: str) -> None:
    longest = ("/b" + unit * MAX_PATH_LENGTH)[:MAX_PATH_LENGTH]
    longest = longest[:-3] + "abc"

    assert len(longest) == MAX_PATH_LENGTH == 8192
    assert canonical(longest).text == longest
    assert rejection(longest + "d") == "too_long"


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("/a\x7f", "control_character"),
        ("/a\x80", "raw_non_ascii"),
        ("/a\x1f", "control_character"),
        ("/a ", "illegal_character"),
        ("http:/internal", "not_rooted"),
        ("http:internal", "not_rooted"),
        ("http://internal", "absolute_form"),
    ],
)
def test_neighbours_are_refused_for_reasons_of_their_own(raw: str, reason: str) -> None:
    assert rejection(raw) == reason
