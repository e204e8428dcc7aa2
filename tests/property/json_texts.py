"""Texts like JSON: valid ones in every spelling, and with what a strict reader refuses."""

import json
from decimal import Decimal
from typing import Any, Final

from hypothesis import strategies as st

from extauthz.compile.conditions.fast_json import exact, read_fast
from extauthz.domain.strict_json import JsonRejected, read_object

NUMBERS: Final = [
    "0", "-0", "-0.0", "0.0", "1", "20", "-7", "12.5", "12.50", "0.1", "1e3", "1E3", "1e+3", "1.5e-7",
    "100.0",
    "123456789012345", "1234567890123456", "0.123456789012345", "0.1234567890123456", "9007199254740993",
    "9007199254740993.0", "1000.00000000000000000001", "0.1000000000000000055511151231257827",
    "9223372036854775807", "-9223372036854775808", "-9223372036854775809", "18446744073709551615",
    "18446744073709551616", "100000000000000000000", "1.8446744073709552e+19", "1e20", "1e+20", "1e22",
    "1e23",
    "900719925474099.3", "9007199254740993e1", "12345678.123456789", "1E-400", "1e99", "1e100", "1e-99",
    "1e-100", "1e0005", "1e308", "1.7976931348623157e308", "1.8e308", "1e309",
    "1e400", "-1e400", "4e-324", "5e-324", "2e-324", "1e-400", "0e99999", "0e999999", "1" * 308, "9" * 309,
    "9" * 401, "0." + "0" * 320 + "1", "0." + "0" * 400 + "1", "1." + "0" * 500, "NaN", "Infinity",
    "-Infinity",
    "01", "+1", ".5", "1.", "-", "1e", "0x1", "1_0", "--1", "\u0661",
]  # fmt: skip
TEXTS: Final = [
    "", "a", "b", "A", "name", "é", "\u2028", "\U0001f600", "\x7f", "\x85", "\0", "\n\t", '"', "\\", '\\"',
    "/",
    ":", '":', "[", "]", "{", "}", "[[", "]}", '"]', "a b", " ", "e5", "1e400", "u003a", "\\u003a", "\ufeff",
]  # fmt: skip
BLANKS: Final = st.sampled_from(["", "", "", " ", "\n", "\r\n\t", "  "])
OTHER_BLANKS: Final = ["\f", "\u00a0", "\0", "/**/", "\ufeff", ",", "}", "]", '"']


def spelt(draw: st.DrawFn, text: str) -> str:
    """Return a string of JSON in one of its spellings, rarely in an invalid one."""
    way = draw(st.integers(0, 11))
    if way == 0:
        units = text.encode("utf-16-be", "surrogatepass")
        pairs = zip(units[::2], units[1::2], strict=True)
        return '"' + "".join(f"\\u{high:02x}{low:02X}" for high, low in pairs) + '"'
    if way == 1:
        return json.dumps(text)
    if way == 2:
        return json.dumps(text).replace("/", "\\/")
    if way == 3:
        return draw(
            st.sampled_from(['"\\ud800"', '"\\udc00\\ud800"', '"\t"', '"\\x"', '"\\u00g0"', "'a'", '"'])
        )
    return json.dumps(text, ensure_ascii=False)


@st.composite
def strings(draw: st.DrawFn) -> str:
    parts = draw(st.lists(st.sampled_from(TEXTS), min_size=1, max_size=2))
    return spelt(draw, "".join(parts))


@st.composite
def containers(draw: st.DrawFn, depth: int) -> str:
    blank = draw(BLANKS)
    comma, colon = f",{blank}", f"{draw(BLANKS)}:{blank}"
    entries = draw(st.lists(values(depth), max_size=4))
    if draw(st.booleans()):
        inner = comma.join(f"{draw(strings())}{colon}{entry}" for entry in entries)
        return f"{{{blank}{inner}{blank}}}"
    return f"[{blank}{comma.join(entries)}{blank}]"


@st.composite
def values(draw: st.DrawFn, depth: int) -> str:
    if depth < 3 and draw(st.integers(0, 2)) == 0:
        return draw(containers(depth + 1))
    scalars: st.SearchStrategy[str] = st.one_of(
        st.sampled_from(NUMBERS[:12]),
        st.sampled_from(NUMBERS),
        st.floats(allow_nan=False, allow_infinity=False).map(repr),
        st.integers(-(2**70), 2**70).map(str),
        st.sampled_from(["true", "false", "null", "True", "nul"]),
        strings(),
        strings(),
    )
    return draw(scalars)


@st.composite
def nested(draw: st.DrawFn) -> str:
    """Return a value of about as many levels as are read, with brackets in strings next to them."""
    levels = draw(st.integers(28, 36))
    kinds = draw(st.lists(st.booleans(), min_size=levels, max_size=levels))
    before, after = draw(
        st.sampled_from([("", ""), ('"]",', ',"["'), ('"}",', ',"{"'), ('"",', ""), ('"\\"]",', ',"\\"["')])
    )
    text = draw(st.sampled_from(["", '"["', "1.5"]))
    for is_list in kinds:
        text = f"[{before}{text or 0}{after}]" if is_list else f'{{"a":{text or 0}}}'
    return text


@st.composite
def objects(draw: st.DrawFn) -> bytes:
    """Return an object with members of every kind, and rarely something around it."""
    names = draw(st.lists(st.sampled_from(["a", "b", "c", "ab", "a:", '"', "é"]), max_size=5))
    unique = draw(st.integers(0, 4)) > 0
    names = list(dict.fromkeys(names)) if unique else names
    colon, comma = draw(st.sampled_from([(":", ","), (": ", ", "), (" : ", ",\n")]))
    inner = st.one_of(values(0), values(0), values(0), nested())
    members = [f"{spelt(draw, name)}{colon}{draw(inner)}" for name in names]
    if draw(st.booleans()):
        # Many containers, or a text beyond the small ones.
        more = draw(st.sampled_from(['[{"k": "v"}]', '"[]"', "0.5", "7", '"\\n"', "{}"]))
        count = draw(st.sampled_from([3, 30, 300]))
        members.append(f'"many"{colon}[{comma.join([more] * count)}]')
    if draw(st.booleans()):
        members.append(f'"long"{colon}"{"some text " * 150}"')
    text = "{" + comma.join(draw(st.permutations(members))) + "}"
    if draw(st.integers(0, 9)) == 0:
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(OTHER_BLANKS)) + text[at:]
    encoding = draw(st.sampled_from([*["utf-8"] * 20, "utf-16", "utf-32-le", "latin-1"]))
    return text.encode(encoding, "replace")


def assert_agrees(content: bytes, depth: int = 32) -> bool:
    """Compare both readers; whether the fast one read the text."""
    fast, strict = read_fast(content, depth), read_object(content, max_depth=depth)
    if fast is None:
        return False
    assert not isinstance(strict, JsonRejected), strict.problem
    assert is_same(fast, strict)
    return True


def is_same(fast: Any, strict: Any) -> bool:
    """Tell whether both readers read the same, in types and numbers too."""
    if isinstance(fast, float):
        return isinstance(strict, Decimal) and exact(fast) == strict
    if type(fast) is not type(strict):
        return False
    if isinstance(fast, dict):
        return list(fast) == list(strict) and all(is_same(fast[name], strict[name]) for name in strict)
    if isinstance(fast, list):
        return len(fast) == len(strict) and all(map(is_same, fast, strict))
    return bool(fast == strict)
