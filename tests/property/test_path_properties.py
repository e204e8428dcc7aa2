import unicodedata

from hypothesis import example, given, settings
from hypothesis import strategies as st

from extauthz.domain.path import CanonicalPath, PathProblem, PathRejected, canonical_verdict, decode_segment
from tests.hostile_paths import HOSTILE
from tests.lenient_upstreams import names_seen_after_folding, names_seen_by_each

UNRESERVED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
PCHAR = UNRESERVED + "!$&'()*+,=:@"

SEGMENT = st.text(alphabet=PCHAR, min_size=1, max_size=12).filter(lambda text: text not in {".", ".."})
CLEAN = st.builds(
    lambda segments, slash: "/" + "/".join(segments) + ("/" if slash and segments else ""),
    st.lists(SEGMENT, max_size=6),
    st.booleans(),
)


# Most random paths are refused for their first fault, so the tests use more examples.
MANY = settings(max_examples=max(1_500, settings().max_examples))


def readings(raw: str) -> CanonicalPath | None:
    parsed = CanonicalPath.parse(raw)
    return parsed if isinstance(parsed, CanonicalPath) else None


@given(HOSTILE)
def test_reading_a_canonical_path_again_changes_nothing(raw: str) -> None:
    if path := readings(raw):
        assert CanonicalPath.parse(path.text) == path
        assert "/" + "/".join(path.segments) == path.text


@given(HOSTILE)
def test_every_input_gives_a_path_or_a_known_reason(raw: str) -> None:
    parsed = CanonicalPath.parse(raw)
    if isinstance(parsed, PathRejected):
        assert parsed.reason in PathProblem
    else:
        assert parsed.text.isascii()
        assert parsed.text.isprintable()


@given(st.one_of(st.binary(max_size=40), HOSTILE.map(lambda raw: raw.encode("utf-8", "surrogatepass"))))
def test_every_line_gets_exactly_one_verdict(line: bytes) -> None:
    verdict = canonical_verdict(line)
    assert len(verdict) == 1
    assert verdict.get("rejected") in {None, *(problem.value for problem in PathProblem)}
    assert ("path" in verdict) is (verdict.get("rejected") is None)


@MANY
@given(HOSTILE)
@example("/100%25")
@example("/a%25%25/b%252")
def test_no_lenient_server_reads_an_accepted_path_differently(raw: str) -> None:
    if path := readings(raw):
        ours = [decode_segment(segment) for segment in path.segments if segment]
        for spelling in (raw, path.text):
            for theirs in names_seen_by_each(spelling):
                assert theirs == ours


@MANY
@given(HOSTILE)
def test_no_server_that_folds_unicode_reads_more_or_fewer_segments(raw: str) -> None:
    if path := readings(raw):
        ours = [segment for segment in path.segments if segment]
        assert len(names_seen_after_folding(raw)) == len(ours)


@MANY
@given(HOSTILE)
def test_segments_decode_to_printable_structure_free_text(raw: str) -> None:
    if path := readings(raw):
        assert all(path.segments[:-1])
        for segment in path.segments:
            name = decode_segment(segment)
            assert not set(unicodedata.normalize("NFC", name)) & {"/", "\\", ";"}
            assert all(unicodedata.category(char) != "Cc" for char in name)
            assert name not in {".", ".."}
            assert name == name.strip()


@given(CLEAN)
def test_characters_that_rfc_3986_allows_unencoded_pass_unchanged(raw: str) -> None:
    path = readings(raw)
    assert path is not None
    assert path.text == raw


@given(CLEAN, st.data())
def test_every_spelling_of_unreserved_characters_is_one_path(raw: str, data: st.DataObject) -> None:
    spelt = "".join(
        data.draw(st.sampled_from([char, f"%{ord(char):02x}", f"%{ord(char):02X}"]))
        if char in UNRESERVED
        else char
        for char in raw
    )
    assert CanonicalPath.parse(spelt) == CanonicalPath.parse(raw)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12))
def test_escaped_text_is_decoded_to_itself(text: str) -> None:
    escaped = "".join(f"%{octet:02x}" for octet in text.encode())
    if path := readings("/" + escaped):
        assert [decode_segment(segment) for segment in path.segments] == [text]
