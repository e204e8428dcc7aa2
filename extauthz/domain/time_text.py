"""Times as RFC 3339 text, read and written.

Input: text of a document, a token or a log; a time with its zone. Output: a time in UTC, in microseconds;
text in UTC with `Z`. Errors: None for text that is not a time.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

# RFC 3339 5.6. What `datetime.fromisoformat` reads grows from version to version.
_RFC3339: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:[Zz]|([+-](?:[01][0-9]|2[0-3])):([0-5][0-9]))"
)


def parse_time(value: object) -> datetime | None:
    """Read the text of an RFC 3339 instant, in UTC and microseconds; None for any other value."""
    found = _RFC3339.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    microsecond = int((found[7] or "0")[:6].ljust(6, "0"))
    offset = timedelta()
    if found[8] is not None:
        minutes = int(found[9])
        offset = timedelta(hours=int(found[8]), minutes=-minutes if found[8].startswith("-") else minutes)
    try:
        return datetime(year, month, day, hour, minute, second, microsecond, UTC) - offset
    except (ValueError, OverflowError):
        return None


def instant(text: str) -> datetime:
    """Return the time of a text that `parse_time` has read before. Raises AssertionError for another text."""
    moment = parse_time(text)
    assert moment is not None, "times are checked when their document is read"
    return moment


def rfc3339(moment: datetime) -> str:
    """Return a time as RFC 3339 text in UTC with `Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
