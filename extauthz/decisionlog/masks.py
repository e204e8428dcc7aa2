"""Masks fields of a decision's line: a value is left out, or replaced by its HMAC-SHA-256.

A hash is `hmac:` and 64 hexadecimal digits: the HMAC-SHA-256 of the value's UTF-8 under
DECISION_LOG_MASK_KEY. The same value has the same hash in every field and line, so that lines can be joined.
`masked` lists the fields in which a value was replaced; where there was no value, there is none to mask.

A masked value is masked where the line repeats it, too:
- `path` masks `path_raw`, an `mcp_name` that is a URI, the parameters in `attributes_used`, and
  `resource` where it is the path (UNMAPPED=path).
- `resource` and `action` mask their values in `attributes_used`; `resource` masks a path that is the
  resource.
- `roles` and `token_roles` mask each other, `source_principal` a subject that is the same workload.
- `subject` masks each field of `_REPEATING`, each role, attribute and segment of the path that is the
  subject, or has it as a part, or, from eight characters, contains it; in any case of letters and with
  escapes. A path that has it in several segments is masked as a whole.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple
from urllib.parse import unquote

import orjson

from extauthz.settings.decision_log_values import Mask

PREFIX: Final = "hmac:"
HASHED: Final = re.compile(r"hmac:[0-9a-f]{64}")
_CACHED: Final = 16_384
"""Values whose hash is kept: a hash costs 2 us, finding it a twentieth of that."""
_CONTAINED_FROM: Final = 8
_BLOCK: Final = 64
_SEPARATORS: Final = frozenset("/.:@,;=&~!$'()*+|\"[]{}<>?# \t\r\n")
_ACTION: Final = "action"
_NAME: Final = "resource.name"
_REPEATING: Final = ("source_principal", "host", "domain", "resource", "mcp_name")
_LISTS: Final = ("roles", "token_roles")
_URI: Final = ":/"
_DROPPED: Final = "***"
"""What a part of a text is replaced by: a segment of a path, a role of a list."""

LineFields = dict[str, Any]
TextMask = Callable[[str], str | None]


class KeyedHash:
    """The HMAC-SHA-256 (RFC 2104) under one key."""

    def __init__(self, key: bytes) -> None:
        """Take the key."""
        if len(key) > _BLOCK:
            key = hashlib.sha256(key).digest()
        block = key.ljust(_BLOCK, b"\0")
        # Copies of two hashes that have the key already cost half of what `hmac` does.
        self._inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block))
        self._outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in block))

    def digest(self, message: bytes) -> bytes:
        """Return the digest of a message."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()

    def hexdigest(self, message: bytes) -> str:
        """Return the digest of a message, in hexadecimal digits."""
        return self.digest(message).hex()


class Searched(NamedTuple):
    """A subject in lower case, and as it then stands in JSON."""

    lower: str
    octets: bytes
    is_ascii: bool

    def may_be_in(self, line: bytes) -> bool:
        """Tell whether `line`, rendered from masked fields, may still show the subject: it has its text.

        Most lines do not. Searching the whole line once costs less than searching its fields.
        """
        lower = line.lower() if self.is_ascii else line.decode().lower().encode()
        return self.octets in lower or (b"%" in line and self.lower in unquote(line.decode()).lower())


class Masks:
    """Masks the fields of decisions; used by one thread."""

    def __init__(self, masks: Mapping[str, Mask], key: str | None) -> None:
        """Compile the masks. `key` is needed for `Mask.HASH`; the settings demand it."""
        hashed = KeyedHash((key or "").encode())
        self._hash: Callable[[str], str] = lru_cache(maxsize=_CACHED)(
            lambda value: PREFIX + hashed.hexdigest(value.encode("utf-8", "surrogatepass"))
        )
        self._found = lru_cache(maxsize=_CACHED)(self._masked_subject)
        every = dict(masks)
        if "path" in every:
            every.setdefault("path_raw", every["path"])
            every.setdefault("attributes_used", every["path"])
        for name, other in (_LISTS, _LISTS[::-1]):
            if name in masks:
                every.setdefault(other, masks[name])
        self._peer = every.get("source_principal")
        self._subject = every.pop("subject", None)
        self._path = every.pop("path", None)
        self._used = every.pop("attributes_used", None)
        self._resource = every.get("resource")
        self._action = every.get("action")
        self._reads_used = bool(self._used or self._resource or self._action)
        self._texts = [(name, self._change(name, mask)) for name, mask in every.items()]

    def apply(self, fields: LineFields) -> "Searched | None":
        """Mask the fields of one line, and say in `masked` which.

        Returned is the subject that was masked, which the line may repeat.
        """
        masked: list[str] = []
        subject = fields["subject"]
        path = fields["path"]
        if path is not None and (self._path or self._resource):
            self._mask_path(fields, path, masked)
        is_peer = self._peer is not None and subject and subject == fields["source_principal"]
        if is_peer and self._subject is None:
            # The subject of a workload is its peer.
            fields["subject"] = self._text(self._peer, subject)
            masked.append("subject")
        for name, change in self._texts:
            value = fields.get(name)
            if value and name not in masked:
                fields[name] = change(value)
                masked.append(name)
        if self._reads_used and fields["attributes_used"]:
            self._mask_used(fields, masked)
        fields["masked"] = masked
        if self._subject is None or not subject:
            return None
        fields["subject"], searched = self._found(subject)
        masked.append("subject")
        return searched

    def mask_repeated(self, fields: LineFields, subject: "Searched", line: bytes) -> bool:
        """Mask what repeats the subject, which `line` shows as rendered; true when there was something."""
        if not subject.may_be_in(line):
            return False
        assert self._subject is not None
        masked: list[str] = fields["masked"]
        before = len(masked)
        self._mask_repeated(fields, subject.lower, self._subject, masked)
        return len(masked) > before

    def _masked_subject(self, subject: str) -> tuple[str | None, "Searched"]:
        """Return what stands for a subject, and the subject as it is searched."""
        lower = subject.encode("utf-8", "replace").decode().lower()
        found = Searched(lower, orjson.dumps(lower)[1:-1], subject.isascii())
        return self._hash(subject) if self._subject is Mask.HASH else None, found

    def _mask_path(self, fields: LineFields, path: str, masked: list[str]) -> None:
        is_resource = fields["resource"] == path
        mask = self._path or (self._resource if is_resource else None)
        if mask is None:
            return
        fields["path"] = None if mask is Mask.DROP else "/" + self._hash(path)
        masked.append("path")
        if is_resource:
            fields["resource"] = fields["path"]
            masked.append("resource")
        name = fields.get("mcp_name")
        if self._path and name and _URI in name:
            fields["mcp_name"] = self._text(self._path, name)
            masked.append("mcp_name")

    def _mask_used(self, fields: LineFields, masked: list[str]) -> None:
        """Mask the values of `attributes_used` that masks are about."""
        shown = dict(fields["attributes_used"])
        for name, value in shown.items():
            mask = self._used
            if name == _ACTION:
                mask = self._action or mask
            elif name == _NAME:
                mask = self._resource or mask
            if mask is not None and value is not None:
                shown[name] = self._text(mask, _as_text(value))
                fields["attributes_used"] = shown
        if fields["attributes_used"] is shown:
            masked.append("attributes_used")

    def _mask_repeated(self, fields: LineFields, subject: str, mask: Mask, masked: list[str]) -> None:
        """Mask what repeats the subject, which is in lower case, in fields that are not masked as a whole."""
        path = fields["path"]
        if path is not None and "path" not in masked and subject in _plain(path):
            segments: str | None = "/".join(
                self._part(mask, each) if _repeats(_plain(each), subject) else each
                for each in path.split("/")
            )
            if segments and _repeats(_plain(segments), subject):
                # It spans several segments.
                segments = None if mask is Mask.DROP else "/" + self._hash(path)
            if segments != path:
                if fields["resource"] == path:
                    fields["resource"] = segments
                    masked.append("resource")
                fields["path"] = segments
                masked.append("path")
        for name in _REPEATING:
            value = fields.get(name)
            if value and name not in masked and _repeats(_plain(value), subject):
                fields[name] = self._text(mask, value)
                masked.append(name)
        for name in _LISTS:
            roles = fields[name]
            for role in roles:
                if name not in masked and _repeats(_plain(role), subject):
                    fields[name] = tuple(
                        self._part(mask, each) if _repeats(_plain(each), subject) else each for each in roles
                    )
                    masked.append(name)
        for name, value in tuple(fields["attributes_used"].items()):
            if value is not None and _repeats(_plain(_as_text(value)), subject):
                fields["attributes_used"] = fields["attributes_used"] | {
                    name: self._text(mask, _as_text(value))
                }
                if "attributes_used" not in masked:
                    masked.append("attributes_used")

    def _text(self, mask: Mask | None, value: str) -> str | None:
        return self._hash(value) if mask is Mask.HASH else None

    def _part(self, mask: Mask, value: str) -> str:
        return self._hash(unquote(value)) if mask is Mask.HASH else _DROPPED

    def _change(self, name: str, mask: Mask) -> Callable[[Any], Any]:
        """Return what replaces the value of a field."""
        hashed = self._hash
        if name in _LISTS:
            return (lambda _: ()) if mask is Mask.DROP else (lambda values: tuple(map(hashed, values)))
        return (lambda _: None) if mask is Mask.DROP else hashed


def _plain(text: str) -> str:
    return (unquote(text) if "%" in text else text).lower()


def _repeats(text: str, subject: str) -> bool:
    """Tell whether a text is the subject, has it as a part, or contains one that is long."""
    at = text.find(subject)
    if at < 0 or len(subject) >= _CONTAINED_FROM:
        return at >= 0
    while at >= 0:
        end = at + len(subject)
        if (at == 0 or text[at - 1] in _SEPARATORS) and (end == len(text) or text[end] in _SEPARATORS):
            return True
        at = text.find(subject, at + 1)
    return False


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value, default=_member).decode()
    except TypeError:
        # A lone surrogate, a number beyond 64 bits, too deep.
        return str(value)


def _member(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else str(value)
