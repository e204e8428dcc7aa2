"""The entries of Envoy's `header_map` (`encode_raw_headers`): their names, and the few values that are read.

A client sends twenty headers, of which a check reads six. So an entry, a serialised `HeaderValue` (key = 1,
value = 2, raw_value = 3), is taken apart only where its value is wanted. Where the wanted ones are is found
once for each list of names: clients send few different lists, but each with every request. Of the other
entries only the key is looked at: the proxy writes the message, a client only the values in it.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError

from extauthz.check.extauthz_check_pb2 import HeaderValue

_KEY: Final = 0x0A  # protobuf.dev, "Encoding": fields 1 and 3, both length-delimited
_RAW_VALUE: Final = 0x1A
_LONG: Final = 0x80
"""Lengths from here on take two octets, from its square on three."""

_CACHED_LISTS: Final = 256
_CACHED_ENTRIES: Final = 48
"""Longer lists are read afresh each time. An entry's head has at most 257 octets, so these are below 4 MB."""

_NONE: Final[frozenset[str]] = frozenset()


class Entries(NamedTuple):
    """Headers by lower-case name.

    `names` has all `different` ones, by line; `values` those that were wanted, repetitions joined by a
    comma, cookies as RFC 9113 8.2.3 does. `replaced` names wanted ones whose bytes Envoy may have replaced.
    """

    names: str
    different: int
    values: dict[str, bytes]
    repeated: frozenset[str]
    replaced: frozenset[str]


class _Places(NamedTuple):
    """What a list of names says: `wanted` has name, position, and the size of what precedes the value."""

    names: str
    different: int
    wanted: tuple[tuple[str, int, int], ...]


def read_entries(entries: Sequence[bytes], wanted: frozenset[str]) -> Entries | None:
    """Read the entries; None when one is not a HeaderValue. `wanted` has lower-case names."""
    try:
        heads = tuple([entry[: entry[1] + 2] for entry in entries])
    except IndexError:
        return _read_messages(entries, wanted)
    places = (_places if len(heads) <= _CACHED_ENTRIES else _places.__wrapped__)(heads, wanted)
    if places is None:
        return _read_messages(entries, wanted)
    values: dict[str, bytes] = {}
    for name, position, size in places.wanted:
        entry = entries[position]
        value = entry[size + 2 :]
        # Most values are short: the tag, one octet of length, and nothing behind the value.
        if not value or entry[size + 1] != len(value) or entry[size] != _RAW_VALUE:
            long = _long_value(entry, size)
            if long is None:
                return _read_messages(entries, wanted)
            value = long
        values[name] = value
    return Entries(places.names, places.different, values, _NONE, _NONE)


@lru_cache(maxsize=_CACHED_LISTS)
def _places(heads: tuple[bytes, ...], wanted: frozenset[str]) -> _Places | None:
    """Read the heads of the entries, tag, length and key each.

    None when the entries must be read as messages: one has another form, or a wanted header is repeated.
    """
    names: list[str] = []
    for head in heads:
        if head[0] != _KEY or head[1] >= _LONG or len(head) != head[1] + 2 or not head.isascii():
            return None
        names.append(head[2:].decode("ascii").lower())
    found = [(name, position, len(name) + 2) for position, name in enumerate(names) if name in wanted]
    if len({name for name, _, _ in found}) != len(found):
        return None
    unique = dict.fromkeys(names)
    return _Places("\n".join(unique), len(unique), tuple(found))


def _long_value(entry: bytes, size: int) -> bytes | None:
    """Return an empty raw value or one of 128 to 16383 octets, None for what is neither."""
    if len(entry) == size:
        return b""  # proto3 leaves an empty field out
    if len(entry) < size + 3 or entry[size] != _RAW_VALUE:
        return None
    low, high, value = entry[size + 1], entry[size + 2], entry[size + 3 :]
    return value if high < _LONG <= low and low - _LONG + high * _LONG == len(value) else None


def _read_messages(entries: Iterable[bytes], wanted: frozenset[str]) -> Entries | None:
    """Read the entries as protobuf does, at ten times the cost."""
    values: dict[str, list[bytes]] = {}
    replaced: set[str] = set()
    try:
        for message in map(HeaderValue.FromString, entries):
            name = message.key.lower()
            seen = values.setdefault(name, [])
            if name in wanted:
                seen.append(message.raw_value or message.value)
                if message.value and not message.raw_value:
                    replaced.add(name)
    except DecodeError:
        return None
    return Entries(
        names="\n".join(values),
        different=len(values),
        values={name: _joined(name, seen) for name, seen in values.items() if name in wanted},
        repeated=frozenset(name for name, seen in values.items() if name in wanted and len(seen) > 1),
        replaced=frozenset(replaced),
    )


def _joined(name: str, seen: list[bytes]) -> bytes:
    """Join the entries of one name as RFC 9110 5.3 does, cookies as RFC 9113 8.2.3 does."""
    return (b"; " if name == "cookie" else b",").join(seen)
