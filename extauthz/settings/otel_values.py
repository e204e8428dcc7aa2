"""Values of OpenTelemetry's own environment variables (`OTEL_*`), read strictly.

Input: text. Output: the value. Errors: `InvalidValueError`, whose text never quotes a header.
"""

import string
from enum import StrEnum
from typing import Final
from urllib.parse import unquote_to_bytes

from extauthz.settings.values import InvalidValueError

MAX_PAIRS: Final = 64
MAX_VALUE_LENGTH: Final = 4096
# RFC 9110 5.6.2, in lower case: HTTP/2 has no other.
_TOKEN: Final = frozenset(string.ascii_lowercase + string.digits + "!#$%&'*+-.^_`|~")
_OF_THE_PROTOCOL: Final = frozenset(
    {
        *("host", "connection", "content-type", "content-length", "content-encoding", "te", "trailer"),
        *("transfer-encoding", "upgrade", "user-agent", "keep-alive", "proxy-connection", "expect"),
    }
)
_HEADERS: Final = "name=value, several separated by commas, each value in percent-encoding"


class OtlpProtocol(StrEnum):
    """The transport of OTLP (`OTEL_EXPORTER_OTLP_PROTOCOL`)."""

    GRPC = "grpc"
    HTTP = "http/protobuf"


class OtlpCompression(StrEnum):
    """The coding of OTLP requests (`OTEL_EXPORTER_OTLP_COMPRESSION`)."""

    NONE = "none"
    GZIP = "gzip"


class TracesExporter(StrEnum):
    """Where spans go (`OTEL_TRACES_EXPORTER`)."""

    OTLP = "otlp"
    NONE = "none"


class Sampler(StrEnum):
    """Which requests are traced (`OTEL_TRACES_SAMPLER`)."""

    ALWAYS_ON = "always_on"
    ALWAYS_OFF = "always_off"
    RATIO = "traceidratio"
    PARENT_ALWAYS_ON = "parentbased_always_on"
    PARENT_ALWAYS_OFF = "parentbased_always_off"
    PARENT_RATIO = "parentbased_traceidratio"

    @property
    def has_ratio(self) -> bool:
        """Whether `OTEL_TRACES_SAMPLER_ARG` is read."""
        return self in {Sampler.RATIO, Sampler.PARENT_RATIO}

    @property
    def asks_parent(self) -> bool:
        """Whether the parent's flag decides where there is a parent."""
        return self.value.startswith("parentbased_")


def otlp_headers(value: str) -> tuple[tuple[str, str], ...]:
    """Return request headers by lower-case name; a name of the protocol itself is invalid."""
    found = []
    for name, octets in _pairs(value, _HEADERS):
        lower = name.lower()
        if not lower or not _TOKEN.issuperset(lower):
            raise InvalidValueError(f"{_HEADERS}; a name is a token (RFC 9110 5.6.2)")
        if lower in _OF_THE_PROTOCOL or lower.startswith("grpc-") or lower.endswith("-bin"):
            raise InvalidValueError(f"{_HEADERS}, without {lower!r}, which the protocol sets")
        text = octets.decode("latin-1")
        if not text.isascii() or not text.isprintable():
            raise InvalidValueError(f"{_HEADERS}; the value of {lower!r} is not printable ASCII")
        found.append((lower, text))
    if not found or len({name for name, _ in found}) < len(found):
        raise InvalidValueError(f"{_HEADERS}; at least one, and each name once")
    return tuple(found)


def resource_attributes(value: str) -> tuple[tuple[str, str], ...]:
    """Return attributes of the resource; the last one of a name counts."""
    form = "key=value, several separated by commas, each value in percent-encoding"
    found: dict[str, str] = {}
    for name, octets in _pairs(value, form):
        if not name.isprintable() or not name.isascii() or " " in name or '"' in name:
            raise InvalidValueError(f"{form}; a key is printable ASCII without spaces")
        try:
            text = octets.decode("utf-8")
        except UnicodeDecodeError:
            raise InvalidValueError(f"{form}; the value of {name!r} is not UTF-8") from None
        if not text.isprintable():
            raise InvalidValueError(f"{form}; the value of {name!r} is not printable")
        found[name] = text
    return tuple(found.items())


def ratio(value: str) -> float:
    """Return a share from 0 to 1."""
    text = value.strip()
    digits = text.replace(".", "", 1)
    if not (digits.isascii() and digits.isdigit() and len(text) <= 24) or not 0 <= float(text) <= 1:
        raise InvalidValueError("a number from 0 to 1, such as 0.01 for one trace in a hundred")
    return float(text)


def _pairs(value: str, form: str) -> list[tuple[str, bytes]]:
    found = []
    for part in value.split(","):
        if not part.strip():
            continue
        name, equals, text = part.partition("=")
        if not equals or not name.strip():
            raise InvalidValueError(form)
        octets = unquote_to_bytes(text.strip())
        if len(octets) > MAX_VALUE_LENGTH:
            raise InvalidValueError(f"{form}; a value has at most {MAX_VALUE_LENGTH} bytes")
        found.append((name.strip(), octets))
    if len(found) > MAX_PAIRS:
        raise InvalidValueError(f"{form}; at most {MAX_PAIRS}")
    return found
