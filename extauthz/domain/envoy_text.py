"""What Envoy makes of a client's bytes before a check, and what can still be known of them.

Without `encode_raw_headers` (and always in the HTTP variant) Envoy joins repeated headers with a comma and
writes `!` for each byte that is not UTF-8; in `path` it always does the latter. What a client sent is then
known only where it can have been nothing else.
"""

import re
from collections.abc import Iterable
from typing import Final

REPLACEMENT: Final = b"!"
JOINT: Final = b","

_NOT_UTF8: Final = re.compile("[\udc80-\udcff]")


def replaced(raw: bytes) -> bytes:
    """Return the bytes with `!` for each one that belongs to no UTF-8 sequence (RFC 3629)."""
    # `surrogateescape` stands each such byte for one surrogate, which UTF-8 itself cannot.
    text = raw.decode("utf-8", "surrogateescape")
    return _NOT_UTF8.sub(REPLACEMENT.decode(), text).encode()


def joined(values: Iterable[bytes]) -> bytes:
    """Return one value for the entries of a repeated header, as Envoy sends it when headers are not raw."""
    return replaced(JOINT.join(values))


def is_known(value: bytes, *, raw: bool) -> bool:
    """Tell whether a header that came as one value can have been sent in no other way.

    `raw` is whether the value is known to be as the client sent it. Text that is not UTF-8 is never known.
    """
    if not raw and (JOINT in value or REPLACEMENT in value):
        return False
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
