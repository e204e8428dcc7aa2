"""Reads the base URL of AuthZEN metadata (`AUTHZEN_BASE_URL`)."""

import re
from typing import Final

from extauthz.settings.values import InvalidValueError, url

_WANTED: Final = "an https URL of host, port and path, without a final slash, query and fragment"
# RFC 3986 2.3: segments without percent-encoding, so that the URL has one spelling.
_PATH: Final = re.compile(r"(?:/[A-Za-z0-9._~-]+)*")
_MAX_LENGTH: Final = 1024


def base_url(value: str) -> str:
    """Return the identifier of a policy decision point (AuthZEN Authorization API 1.0, 9.1.1)."""
    found = url(value)
    authority, slash, path = found.partition("://")[2].partition("/")
    segments = path.split("/")
    if (
        not found.startswith("https://")
        or len(found) > _MAX_LENGTH
        or authority != authority.lower()
        or _PATH.fullmatch(slash + path) is None
        or {".", ".."}.intersection(segments)
    ):
        raise InvalidValueError(_WANTED)
    return found
