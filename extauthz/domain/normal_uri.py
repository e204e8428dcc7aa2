"""URIs in their normal form, which servers that normalize take for no other URI.

A server may compare a URI as text, after RFC 3986 6.2, or as browsers read URLs (WHATWG). The SDK of MCP for
TypeScript does the latter: to it `REPORTS://2026/./sales` is `reports://2026/sales`.
"""

import re
import string
from typing import Final

MAX_URI: Final = 2_048
"""Characters; a longer URI is not examined: each template of a path is compared with it."""

_PARTS: Final = re.compile(
    r"([a-z][a-z0-9+.-]*):(//[^/?#]*)?([^?#]*)((?:[?#][A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]*)?)", re.ASCII
)
_PATH: Final = re.compile(r"[A-Za-z0-9._~:/\[\]@!$&'()*+,;=%-]*", re.ASCII)
_AUTHORITY: Final = re.compile(r"//[A-Za-z0-9._~!$&'()*+,;=%-]*(?::([1-9][0-9]{0,4}))?", re.ASCII)
_ESCAPE: Final = re.compile(r"%([0-9A-F]{2})?")
_NO_SEGMENT: Final = re.compile(r"(?:^|/)\.\.?(?:/|$)|//")
_DECODED: Final = frozenset((string.ascii_letters + string.digits + "-._~/\\").encode())
"""What some reader writes without an escape, and what separates segments."""
_DEFAULT_PORTS: Final = {"http": "80", "https": "443", "ws": "80", "wss": "443", "ftp": "21"}
"""Of the schemes that browsers read in their own way; `file` is another one."""
_FILE: Final = "file"
_HOST: Final = re.compile(r"[a-z0-9.-]+")
_NUMBER: Final = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)?")


def is_normal_uri(text: str) -> bool:
    """Tell whether no normalization changes a URI, the case of the authority of other schemes aside."""
    found = _PARTS.fullmatch(text) if len(text) <= MAX_URI else None
    if found is None:
        return False
    scheme, authority, path, rest = found.groups()
    if _PATH.fullmatch(path) is None or _NO_SEGMENT.search((authority or "").removeprefix("//") + path):
        return False
    if not all(map(_is_kept, _ESCAPE.findall(text))):
        return False
    port = None
    if authority is not None:
        plain = _AUTHORITY.fullmatch(authority)
        if plain is None:
            return False
        port = plain[1]
    if scheme != _FILE and scheme not in _DEFAULT_PORTS:
        return True
    if authority is None or not path.startswith("/") or "'" in rest:
        return False
    if scheme == _FILE:
        return authority == "//"
    host = authority.removeprefix("//").partition(":")[0]
    # A host that ends in a number is an address, which has many spellings.
    return (
        port != _DEFAULT_PORTS[scheme]
        and _HOST.fullmatch(host) is not None
        and _NUMBER.fullmatch(host.rpartition(".")[2]) is None
    )


def with_lower_authority(text: str) -> str:
    """Return a URI with its authority in lower case, as RFC 3986 6.2.2.1 compares hosts."""
    found = _PARTS.fullmatch(text)
    if found is None or found[2] is None:
        return text
    return text[: found.start(2)] + found[2].lower() + text[found.end(2) :]


def _is_kept(digits: str) -> bool:
    octet = int(digits, 16) if digits else 0
    return octet >= 0x20 and octet != 0x7F and octet not in _DECODED
