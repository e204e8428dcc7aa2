"""Protobuf's wire format, as far as a CheckResponse needs it (protobuf.dev, "Encoding").

Building the response from message objects costs four times the decision it reports. Its parts repeat from
request to request, so they are kept as bytes and joined; lengths are all that has to be computed.
"""

import struct
from collections.abc import Iterable
from itertools import chain, repeat
from typing import Final

_LENGTH_DELIMITED: Final = tuple(bytes((number << 3 | 2,)) for number in range(16))

# google.protobuf.Struct: `map<string, Value> fields = 1`, an entry being {key = 1, value = 2};
# google.protobuf.Value: null_value = 1, number_value = 2 (double), string_value = 3.
_NULL_VALUE: Final = b"\x08\x00"
_NUMBER_VALUE: Final = b"\x11"


def varint(value: int) -> bytes:
    """Encode a non-negative integer, seven bits an octet, the lowest first."""
    octets = bytearray()
    while value >= 0x80:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    octets.append(value)
    return bytes(octets)


class _Lengths(dict[int, bytes]):
    """Encoded sizes by size: those of usual fields are kept, all others encoded each time."""

    def __missing__(self, size: int) -> bytes:
        return varint(size)


_LENGTHS: Final = _Lengths((size, varint(size)) for size in range(4096))


def field_head(number: int, size: int) -> bytes:
    """Encode what stands before the `size` octets of a message, string or bytes field."""
    return _LENGTH_DELIMITED[number] + _LENGTHS[size]


def field(number: int, payload: bytes) -> bytes:
    """Encode a message, string or bytes field; `number` is at most 15."""
    return field_head(number, len(payload)) + payload


def repeated(number: int, values: Iterable[str]) -> bytes:
    """Encode a repeated string field; `number` is at most 15. A client can make it a thousand values."""
    octets = [text(value) for value in values]
    lengths = map(_LENGTHS.__getitem__, map(len, octets))
    return b"".join(chain.from_iterable(zip(repeat(_LENGTH_DELIMITED[number]), lengths, octets)))


def integer_field(number: int, value: int) -> bytes:
    """Encode a non-negative integer, enum or bool field; `number` is at most 15."""
    return varint(number << 3) + varint(value)


def text(value: str) -> bytes:
    """Encode text; a lone surrogate becomes `?`, since a string that is not UTF-8 voids the whole message."""
    return value.encode("utf-8", "replace")


def struct_entry(name: str, value: str | float | None) -> bytes:
    """Encode one member of a Struct; None is an explicit null."""
    if value is None:
        encoded = _NULL_VALUE
    elif isinstance(value, str):
        encoded = field(3, text(value))
    else:
        encoded = _NUMBER_VALUE + struct.pack("<d", value)
    return field(1, field(1, text(name)) + field(2, encoded))
