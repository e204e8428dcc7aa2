"""The head of a tenant's signed policies: what is current, and the digests of the bodies that hold it.

Input: `Head` and a signing key, or the octets of a DSSE envelope and the pinned keys. Output: octets, or a
`Head`. Errors: `HeadRejectedError`.

A body holds the whole policies at one revision, one change to the next revision, or the tenant's
configuration. The current policies are those of `whole` and all `changes` after it, in their order.
"""

import binascii
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import FormatError, VerificationError
from securesystemslib.signer import CryptoSigner, Key

from extauthz.domain.strict_json import JsonRejected, read_object
from extauthz.telemetry.counts import HeadRejection

PAYLOAD_TYPE: Final = "application/vnd.extauthz.policy-head.v1+json"
MAX_HEAD_BYTES: Final = 256 * 1024
"""The largest envelope that is read, in bytes."""
MAX_CHANGES: Final = 200
"""The most changes after the whole policies; about 40 kB of a head."""
FUTURE_S: Final = 60.0
"""How far the clock of the control plane may be ahead, in seconds."""
_MAX_NUMBER: Final = 2**53 - 1
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


class HeadRejectedError(Exception):
    """A head or a body is refused; the text names the cause and quotes no content."""

    def __init__(self, reason: HeadRejection, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Body:
    """A body: gzip-compressed JSON of this SHA-256 and size; it unpacks to `content_size` bytes."""

    sha256: str
    size: int
    content_size: int


@dataclass(frozen=True, slots=True)
class ChangeBody:
    """The body that holds what changed from revision `predecessor` to `revision`."""

    predecessor: int
    revision: int
    body: Body


@dataclass(frozen=True, slots=True)
class Head:
    """What a control plane says of a tenant at `signed_at` (POSIX milliseconds).

    `serial` grows with every head of the tenant, across a restore of the database too. `epoch` changes with
    a restore. Within an epoch and a `history` a revision always has the same content. `revision` is the one
    that `whole` and `changes` lead to, `written_at` when it was written, in the database's words; a restore
    can give the same revision again, at another time.
    """

    tenant: str
    serial: int
    epoch: str
    history: str
    revision: int
    written_at: str
    signed_at: int
    whole_revision: int
    whole: Body
    changes: tuple[ChangeBody, ...]
    config: Body

    @property
    def bodies(self) -> tuple[Body, ...]:
        """Every body that the head names."""
        return (self.whole, self.config, *(change.body for change in self.changes))


def sign(head: Head, signer: CryptoSigner) -> bytes:
    """Return the DSSE envelope of a head, as JSON."""
    payload = json.dumps(_document(head), separators=(",", ":")).encode()
    envelope = Envelope(payload, PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return json.dumps(envelope.to_dict(), separators=(",", ":")).encode() + b"\n"


def verify(
    octets: bytes,
    keys: Sequence[Key],
    tenant: str,
    *,
    now: float,
    max_age_s: float | None,
    before: Head | None = None,
) -> Head:
    """Return the head of an envelope that one of the keys signed, for this tenant and this moment.

    `now` is POSIX seconds; `max_age_s` is how long ago it may have been signed, None: any time. `before` is
    the last head that was taken.

    Raises:
        HeadRejectedError: the head is not to be used.
    """
    head = _read(_payload(octets, keys))
    if head.tenant != tenant:
        raise HeadRejectedError(HeadRejection.TENANT, f"the head is of another tenant than {tenant!r}")
    age_s = now - head.signed_at / 1000
    if age_s < -FUTURE_S:
        raise HeadRejectedError(
            HeadRejection.EXPIRED, f"the head was signed {-age_s:.0f} s from now; compare the clocks"
        )
    if max_age_s is not None and age_s > max_age_s:
        raise HeadRejectedError(
            HeadRejection.EXPIRED,
            f"the head was signed {age_s:.0f} s ago; at most {max_age_s:.0f} s are allowed",
        )
    if before is not None and (
        head.serial < before.serial or (head.serial == before.serial and head != before)
    ):
        raise HeadRejectedError(
            HeadRejection.SERIAL,
            f"the head has serial {head.serial}, and one with serial {before.serial} was taken before",
        )
    return head


def _payload(octets: bytes, keys: Sequence[Key]) -> bytes:
    if len(octets) > MAX_HEAD_BYTES:
        raise HeadRejectedError(HeadRejection.MALFORMED, f"the head is larger than {MAX_HEAD_BYTES} bytes")
    document = read_object(octets)
    if isinstance(document, JsonRejected):
        raise HeadRejectedError(HeadRejection.MALFORMED, f"the head is {document.problem}")
    try:
        envelope = Envelope.from_dict(document)
    except (KeyError, ValueError, TypeError, AttributeError, FormatError, binascii.Error) as error:
        raise HeadRejectedError(HeadRejection.MALFORMED, "the head is not a DSSE envelope") from error
    if envelope.payload_type != PAYLOAD_TYPE:
        raise HeadRejectedError(HeadRejection.MALFORMED, f"the payload of the head is not {PAYLOAD_TYPE}")
    try:
        envelope.verify(list(keys), 1)
    except (VerificationError, ValueError) as error:
        raise HeadRejectedError(
            HeadRejection.SIGNATURE, "the head has no signature by a key of POLICY_PUBLIC_KEYS"
        ) from error
    return envelope.payload


def _read(payload: bytes) -> Head:
    try:
        # A pinned key signed it, so the strict reader, which takes ten times as long, would protect nothing.
        document = _object(orjson.loads(payload))
        digests = _object(document["digests"])
        whole = _object(digests["whole"])
        changes = digests["changes"]
        if not isinstance(changes, list) or len(changes) > MAX_CHANGES:
            raise ValueError
        head = Head(
            _text(document["tenant"]),
            _number(document["serial"]),
            _text(document["epoch"]),
            _text(document["history"]),
            _number(document["revision"]),
            _text(document["written_at"]),
            _number(document["signed_at"]),
            _number(whole["revision"]),
            _body(whole),
            tuple(_change(_object(each)) for each in changes),
            _body(_object(digests["config"])),
        )
    except (KeyError, ValueError) as error:
        raise HeadRejectedError(
            HeadRejection.MALFORMED, "the payload of the head lacks a member, or one has a wrong type"
        ) from error
    revision = head.whole_revision
    for change in head.changes:
        if change.predecessor != revision or change.revision <= revision:
            raise HeadRejectedError(
                HeadRejection.MALFORMED, "the changes of the head do not follow each other"
            )
        revision = change.revision
    if revision != head.revision:
        raise HeadRejectedError(HeadRejection.MALFORMED, "the bodies of the head do not lead to its revision")
    return head


def _document(head: Head) -> dict[str, object]:
    return {
        "tenant": head.tenant,
        "serial": head.serial,
        "epoch": head.epoch,
        "history": head.history,
        "revision": head.revision,
        "written_at": head.written_at,
        "signed_at": head.signed_at,
        "digests": {
            "whole": {"revision": head.whole_revision, **_named(head.whole)},
            "changes": [
                {"predecessor": each.predecessor, "revision": each.revision, **_named(each.body)}
                for each in head.changes
            ],
            "config": _named(head.config),
        },
    }


def _named(body: Body) -> dict[str, object]:
    return {"sha256": body.sha256, "size": body.size, "content_size": body.content_size}


def _change(document: Mapping[str, object]) -> ChangeBody:
    return ChangeBody(_number(document["predecessor"]), _number(document["revision"]), _body(document))


def _body(document: Mapping[str, object]) -> Body:
    sha256 = _text(document["sha256"])
    if _SHA256.fullmatch(sha256) is None:
        raise ValueError
    return Body(sha256, _number(document["size"]), _number(document["content_size"]))


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise ValueError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError
    return value


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _MAX_NUMBER:
        raise ValueError
    return value
