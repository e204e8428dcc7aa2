"""Which requests are traced, and how `traceparent` is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.domain.trace_context import TraceParent, is_not_sampled, read_traceparent, trace_id_of
from extauthz.settings import Sampler
from extauthz.telemetry.sampling import Sampling

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, NOT_SAMPLED = TraceParent(TRACE, SPAN, True), TraceParent(TRACE, SPAN, False)


@pytest.mark.parametrize(
    ("sampler", "root", "sampled_parent", "other_parent"),
    [
        (Sampler.ALWAYS_ON, True, True, True),
        (Sampler.ALWAYS_OFF, False, False, False),
        (Sampler.PARENT_ALWAYS_ON, True, True, False),
        (Sampler.PARENT_ALWAYS_OFF, False, True, False),
        (Sampler.PARENT_RATIO, True, True, False),
        (Sampler.RATIO, True, True, True),
    ],
)
def test_each_sampler_decides_as_the_specification_says(
    sampler: Sampler, *, root: bool, sampled_parent: bool, other_parent: bool
) -> None:
    sampling = Sampling(sampler)
    assert (sampling.trace_id(None) is not None) is root
    assert sampling.trace_id(SAMPLED) == (TRACE if sampled_parent else None)
    assert sampling.trace_id(NOT_SAMPLED) == (TRACE if other_parent else None)


def test_a_share_is_that_of_new_traces_and_of_the_ids_of_others() -> None:
    sampling = Sampling(Sampler.RATIO, 0.25, seed=b"seed")
    taken = [found for _ in range(4000) if (found := sampling.trace_id(None)) is not None]
    assert 900 < len(taken) < 1100
    assert len(set(taken)) == len(taken)
    assert all(len(each) == 32 and int(each[16:], 16) < 2**62 for each in taken)
    # Another service with the same share takes the same traces.
    other = Sampling(Sampler.RATIO, 0.25)
    assert all(other.trace_id(TraceParent(each, SPAN, False)) == each for each in taken[:100])
    assert other.trace_id(TraceParent("0" * 16 + "4" + "0" * 15, SPAN, True)) is None
    assert Sampling(Sampler.PARENT_RATIO, 0.0).trace_id(None) is None


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (f"00-{TRACE}-{SPAN}-01", SAMPLED),
        (f"00-{TRACE}-{SPAN}-00", NOT_SAMPLED),
        (f"00-{TRACE}-{SPAN}-03", SAMPLED),
        (f"00-{TRACE}-{SPAN}-fe", NOT_SAMPLED),
        (f"cc-{TRACE}-{SPAN}-01-what the future brings", SAMPLED),
        (f"cc-{TRACE}-{SPAN}-01.what", None),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE[:-1]}-{SPAN}-01", None),
        (f" 00-{TRACE}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}-01\n", None),
        (f"00-{TRACE}-{SPAN}-1", None),
        (f"00-{TRACE}-{SPAN}-01,00-{TRACE}-{SPAN}-01", None),
        (f"cc-{TRACE}-{SPAN}-01-{'x' * 500}", None),
        (f"0\u0660-{TRACE}-{SPAN}-01", None),
        ("", None),
    ],
)
def test_a_malformed_parent_is_none(header: str, found: TraceParent | None) -> None:
    octets = header.encode()
    assert read_traceparent(octets) == found
    assert trace_id_of(octets) == (None if found is None else found.trace_id)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A header of the right form, with a few octets replaced, removed or added."""
    ids = st.text("0123456789abcdef", min_size=1)
    version, flags = (
        draw(st.sampled_from(["00", "01", "cc", "ff"])),
        draw(st.text("0123456789abcdef", min_size=2)),
    )
    trace = draw(st.one_of(st.just(TRACE), st.just("0" * 32), ids))
    span = draw(st.one_of(st.just(SPAN), st.just("0" * 16), ids))
    end = draw(st.sampled_from(["", "-", "-x", "\n", " "]))
    header = f"{version}-{trace}-{span}-{flags}{end}".encode()
    at = draw(st.integers(0, len(header)))
    return draw(
        st.sampled_from(
            [header, header[:at], header[at:], header[:at] + draw(st.binary(max_size=2)) + header[at:]]
        )
    )


@given(st.one_of(st.binary(max_size=80), damaged()))
def test_every_way_to_read_a_header_agrees(header: bytes) -> None:
    found = read_traceparent(header)
    assert trace_id_of(header) == (None if found is None else found.trace_id)
    text = header.decode("latin-1")
    if is_not_sampled(text):
        assert found is not None
        assert not found.sampled
    if found is not None:
        assert len(found.trace_id) == 32
        assert int(found.trace_id, 16)
        assert len(found.span_id) == 16
        assert int(found.span_id, 16)
        # Where the flags are is the same in every version.
        assert (header[54] in b"13579bdf") is found.sampled
        assert is_not_sampled(text) is (not found.sampled and header.startswith(b"00-"))


def test_without_a_header_there_is_no_parent() -> None:
    assert read_traceparent(None) is None
    assert trace_id_of(None) is None
