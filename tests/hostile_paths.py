"""Random raw paths close to the limits of the rules, as attacks on paths use them."""

from hypothesis import strategies as st

FRAGMENTS = [
    "/", "//", ".", "..", "...", ";", "%3b", "\\", "%5c", "%2f", "%2e", "%2E", "%2e%2e", "..;", "%00",
    "%0a", "%7f", "%", "%25", "%2525", "%252e", "%252f", "%25u002e", "%u002e", "%2", "2e", "2f", "u002e",
    "%32", "%65", "%61", "%c2%85", "%c2%a0", "%e3%80%80", "%ef%bb%bf", "%e2%80%8b", "%20", " ", "\t",
    "\0", "?", "%3f", "#", "%23", "%c0%ae", "%c0%af", "%c3", "%a9", "%c3%a9", "%e2%82%ac", "%ed%a0%80",
    "%80", "é", "€", "\ud800", "%7e", "%40", "%ef%bc%8e", "%ef%bc%8f", "%ef%bc%bc", "%ef%bc%9b",
    "%ef%bc%85", "%ef%bc%92", "%ef%bd%85", "%e2%80%a5", "%e2%80%a4", "%e2%88%95", "%cd%be", "%f0%9f%92%b6",
]  # fmt: skip
ODD_SEGMENT = st.builds(
    "".join,
    st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.sampled_from(["a", "admin", "B.c", "~"])), max_size=4),
)
HOSTILE = st.one_of(
    st.builds(
        lambda before, odd, after: "/" + "/".join([*before, odd, *after]),
        st.lists(st.sampled_from(["public", "x", "%7e"]), max_size=2),
        ODD_SEGMENT,
        st.lists(st.one_of(st.just("admin"), ODD_SEGMENT), max_size=2),
    ),
    st.text(alphabet="/.%25eEfF;\\ a", max_size=24).map("/".__add__),
    st.lists(st.sampled_from(FRAGMENTS), max_size=6).map("".join),
    st.text(max_size=24),
)
