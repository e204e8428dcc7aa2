"""The counts of one shape on one day: by hour, with the revisions and the last decisions, and as octets.

Octets keep a shape small in the database: a number is a varint (LEB128), a decision id its 16 octets.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

_MORE: Final = 0x80


class Tally(NamedTuple):
    """The counts of a shape on one day.

    `hours` maps an hour, 0 to 23 UTC, to a number of requests. `first` and `last` are policy revisions.
    `decisions` are ids with the revision of each; ids are UUIDv7, so their order is that of time.
    """

    hours: Mapping[int, int]
    first: int
    last: int
    decisions: tuple[tuple[str, int], ...]

    @property
    def requests(self) -> int:
        """How often the shape was asked on that day."""
        return sum(self.hours.values())

    def plus(self, other: "Tally", *, kept: int) -> "Tally":
        """Return both together, with the `kept` latest decisions."""
        hours = dict(self.hours)
        for hour, requests in other.hours.items():
            hours[hour] = hours.get(hour, 0) + requests
        decisions = tuple(sorted({*self.decisions, *other.decisions})[-kept:])
        return Tally(hours, min(self.first, other.first), max(self.last, other.last), decisions)

    def counts_octets(self) -> bytes:
        """Return the counts and revisions as octets."""
        numbers = [self.first, self.last - self.first]
        for hour, requests in sorted(self.hours.items()):
            numbers += [hour, requests]
        return b"".join(map(_varint, numbers))

    def decisions_octets(self) -> bytes:
        """Return the decisions as octets; each id is contained in them as it is."""
        return b"".join(
            bytes.fromhex(decision.replace("-", "")) + _varint(revision)
            for decision, revision in self.decisions
        )


def read_tally(counts: bytes, decisions: bytes) -> Tally:
    """Return what `counts_octets` and `decisions_octets` wrote."""
    first, more, *pairs = _varints(counts)
    hours = dict(zip(pairs[::2], pairs[1::2], strict=True))
    return Tally(hours, first, first + more, tuple(_decisions(decisions)))


def _decisions(octets: bytes) -> Iterator[tuple[str, int]]:
    at = 0
    while at < len(octets):
        end = at + 16
        while octets[end] & _MORE:
            end += 1
        (revision,) = _varints(octets[at + 16 : end + 1])
        yield _uuid(octets[at : at + 16].hex()), revision
        at = end + 1


def _uuid(digits: str) -> str:
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _varint(number: int) -> bytes:
    octets = bytearray()
    while number >= _MORE:
        octets.append(number & 0x7F | _MORE)
        number >>= 7
    octets.append(number)
    return bytes(octets)


def _varints(octets: bytes) -> list[int]:
    numbers: list[int] = []
    number = shift = 0
    for octet in octets:
        number |= (octet & 0x7F) << shift
        if octet & _MORE:
            shift += 7
        else:
            numbers.append(number)
            number = shift = 0
    return numbers
