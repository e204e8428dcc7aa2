"""Searches written data for secrets: as they are, in hexadecimal digits, and in base64."""

import base64
from collections.abc import Iterator, Mapping


def traces(secret: str) -> Iterator[bytes]:
    """Return every form in which the octets of a secret would be found inside something longer."""
    for octets in {secret.encode(), *_read_as_digits(secret)}:
        yield octets
        yield octets.hex().encode()
        yield octets.hex().upper().encode()
        for before in range(3):
            # Base64 of a longer text that the secret begins at any place of: without what neighbours change.
            inside = base64.b64encode(bytes(before) + octets)[4 if before else 0 :]
            yield inside.rstrip(b"=")[:-2]
            yield inside.rstrip(b"=")[:-2].replace(b"+", b"-").replace(b"/", b"_")


def _read_as_digits(secret: str) -> list[bytes]:
    try:
        return [bytes.fromhex(secret)]
    except ValueError:
        return []


def found(secrets: Mapping[str, str], places: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """Return which secrets are in which places."""
    return [
        (name, place)
        for name, secret in secrets.items()
        for place, content in places.items()
        if any(trace in content for trace in traces(secret))
    ]
