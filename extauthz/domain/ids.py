"""Identifiers of decisions: UUID version 7 (RFC 9562, 5.7), sortable by the millisecond of their creation."""

from functools import lru_cache
from typing import Final

RANDOM_BYTES: Final = 10
"""How many random bytes one identifier takes; 74 of their 80 bits are used."""


def uuid7(unix_ms: int, random: bytes) -> str:
    """Return the UUIDv7 of `unix_ms` (milliseconds since 1970, below 2**48) and ten random bytes.

    The result is the lower-case text of RFC 9562, 4.
    """
    tail = random.hex()
    # The two random bits next to the variant are low bits of random[1], whose hex digit tail[3] is not used.
    return f"{_time(unix_ms)}-7{tail[:3]}-{'89ab'[random[1] & 3]}{tail[5:8]}-{tail[8:]}"


@lru_cache(maxsize=8)
def _time(unix_ms: int) -> str:
    # Where it matters how long this takes, many ids share their millisecond.
    digits = f"{unix_ms:012x}"
    return f"{digits[:8]}-{digits[8:]}"
