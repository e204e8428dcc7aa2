"""base64url (RFC 7515 2): no padding, and only the canonical encoding of a value."""

import base64
import binascii


def decode_base64url(segment: bytes) -> bytes | None:
    """Decode `segment`, or return None when it is not exactly what encoding its value gives.

    RFC 7515 2: the URL-safe alphabet, no trailing `=`, no line breaks, white space or other characters.
    Encoding again is the whole check. It also refuses stray bits in the last character (RFC 4648 3.5), with
    which one signed token could be spelt in several ways.
    """
    try:
        octets = base64.urlsafe_b64decode(segment + b"==")
    except (binascii.Error, ValueError):
        return None
    return octets if base64.urlsafe_b64encode(octets).rstrip(b"=") == segment else None
