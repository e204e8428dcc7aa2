"""Decoding of well-formed percent-escapes: the octets are those of the standard library's URL decoder."""

from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extauthz.domain.percent import decode_escapes

escapes = st.builds("%{:{}}".format, st.integers(0, 255), st.sampled_from(["02x", "02X"]))
# Quoted-printable gives "=", "_", white space and line ends a meaning; a URL does not.
pieces = escapes | st.sampled_from(["=", "_", " ", "\t", "\r", "\n", "=\n", "==", "=41", "+"])
others = st.text(st.characters(exclude_characters="%", exclude_categories=["Cs"]), max_size=5)


@given(st.lists(pieces | others).map("".join))
def test_octets_are_those_of_the_url_decoder(text: str) -> None:
    """Every text whose escapes are well-formed."""
    assert decode_escapes(text) == unquote_to_bytes(text)


def test_an_escape_is_decoded_once() -> None:
    """An escaped percent sign does not begin another escape."""
    assert decode_escapes("%2541") == b"%41"


def test_a_lone_surrogate_is_refused() -> None:
    """It has no octets in UTF-8."""
    with pytest.raises(UnicodeEncodeError):
        decode_escapes("\ud800")
