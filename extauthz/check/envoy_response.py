"""Writes a verdict as CheckResponse bytes; the only module that writes status OK for Envoy's gRPC.

Envoy reads `status.code` alone, and an empty message as an allow. INVARIANT: OK is written only for an
`Allowed` and a `Preflight`. The message classes are generated; parts that repeat from answer to answer are
serialised once and joined, which protobuf's wire format allows for the fields of one message (protobuf.dev,
"Encoding").
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final, assert_never

from google.protobuf.struct_pb2 import NULL_VALUE, Struct, Value

from extauthz.check.denial import denial_body, denial_headers
from extauthz.check.extauthz_check_pb2 import (
    OVERWRITE_IF_EXISTS_OR_ADD,
    BoolValue,
    CheckResponse,
    DeniedHttpResponse,
    HeaderValueOption,
    HttpStatus,
    OkHttpResponse,
    Status,
    TextHeader,
)
from extauthz.check.forwarded_headers import ForwardedHeaders, Forwarder
from extauthz.check.identity_headers import DECISION_ID, encode_value, identity_headers, spellings_to_remove
from extauthz.domain.principal import PrincipalKind
from extauthz.domain.reasons import Effect, Reason
from extauthz.domain.verdict import Allowed, Denied, Preflight, Verdict

# Each is a CheckResponse that begins the answer, so that no part of an answer lacks a status.
# OK is present, and its code zero: proto3 writes no zeros.
_OK: Final = CheckResponse(status=Status(code=0)).SerializeToString()
_PERMISSION_DENIED: Final = CheckResponse(status=Status(code=7)).SerializeToString()  # google.rpc.Code

_CACHED_PARTS: Final = 8192
"""Of identities, and as many of targets: a thousand tenants ask for several resources each, and encoding one
that was not kept takes 10 us. An entry has some 650 bytes."""
_CACHED_LENGTH: Final = 512
"""Longer texts are encoded afresh each time, so that what clients ask for fills a dozen megabytes."""


def write(verdict: Verdict, forwarder: Forwarder | None = None, now: float = 0.0) -> bytes:
    """Return the answer to Envoy; `forwarder` has further headers of an allow at `now` (POSIX seconds)."""
    match verdict:
        case Allowed() | Preflight():
            return _allowed(verdict, forwarder, now)
        case Denied():
            return _denied(verdict)
        case _:
            assert_never(verdict)


def internal_error(decision_id: str | None = None) -> bytes:
    """Return the denial for when something broke on the way to an answer; it fits every kind of caller.

    Without an id it was built at import, so that nothing can go wrong any more.
    """
    return _INTERNAL_ERROR if decision_id is None else _internal_error(decision_id)


def _allowed(verdict: Allowed | Preflight, forwarder: Forwarder | None, now: float) -> bytes:
    principal, strip_headers = verdict.principal, verdict.request.strip_headers
    headers, removed, subject = _identity(
        principal.kind, principal.id, verdict.tenant, principal.domain, verdict.roles
    )
    id_header, id_member = _decision_id(verdict.decision_id)
    if strip_headers:
        removed += _removal(spellings_to_remove(strip_headers))
    if forwarder is not None:
        forwarded = forwarder.usual
        # Asked here, too: a call costs more than the answer in the usual case.
        if forwarded is None or principal.forwarding is not None or verdict.target.forwarding is not None:
            forwarded = forwarder.headers_of(verdict, now)
        values, removal = forwarded.parts or _forwarded(forwarded)
        id_header += values
        removed += removal
    rest = CheckResponse(
        ok_response=headers + id_header + removed,
        dynamic_metadata=_metadata(verdict) + subject + id_member,
    )
    return _OK + rest.SerializeToString()


def _denied(verdict: Denied) -> bytes:
    is_grpc = verdict.request is not None and verdict.request.is_grpc
    body = denial_body(verdict.reason, verdict.decision_id, is_grpc=is_grpc)
    subject = None if verdict.principal is None else verdict.principal.id
    _, id_member = _decision_id(verdict.decision_id)
    rest = CheckResponse(
        denied_response=_DENIED_HEADS[verdict.reason, is_grpc] + _body(body),
        dynamic_metadata=_metadata(verdict) + _member("subject", subject) + id_member,
    )
    return _PERMISSION_DENIED + rest.SerializeToString()


def _internal_error(decision_id: str | None) -> bytes:
    """Build the denial of last resort; the caller's protocol is unknown: JSON, with a `grpc-status`
    header."""
    reason = Reason.INTERNAL_ERROR
    head = _denied_head(reason, for_grpc=(False, True))
    metadata = _verdict(Effect.DENY, reason, None, None, None, None, None)
    rest = CheckResponse(
        denied_response=head + _body(denial_body(reason, decision_id, is_grpc=False)),
        dynamic_metadata=metadata + _member("subject", None) + _member("decision_id", decision_id),
    )
    return _PERMISSION_DENIED + rest.SerializeToString()


def _body(text: str) -> bytes:
    return DeniedHttpResponse(body=_text(text)).SerializeToString()


def _header(name: str, value: str) -> HeaderValueOption:
    """Return an entry of `headers` that overwrites under every version of Envoy.

    Up to 1.36 an unset `append` overwrites, later it can append, so both flags are written.
    """
    return HeaderValueOption(
        header=TextHeader(key=name, value=value),
        append=BoolValue(value=False),
        append_action=OVERWRITE_IF_EXISTS_OR_ADD,
    )


def _member(name: str, value: str | float | None) -> bytes:
    """Return a Struct with one member; joined, they are one Struct."""
    if value is None:
        encoded = Value(null_value=NULL_VALUE)
    elif isinstance(value, str):
        encoded = Value(string_value=_text(value))
    else:
        encoded = Value(number_value=value)
    return Struct(fields={name: encoded}).SerializeToString()


def _text(value: str) -> str:
    """Return text without lone surrogates: a string that is not UTF-8 voids the whole message."""
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _decision_id(decision_id: str) -> tuple[bytes, bytes]:
    """Return the id as request header and as metadata; UUIDs are of one length and fit into a frame."""
    if _UUID.fullmatch(decision_id) is None:
        return _id_header(decision_id), _member("decision_id", decision_id)
    encoded = decision_id.encode("ascii")
    return encoded.join(_ID_HEADER_FRAME), encoded.join(_ID_MEMBER_FRAME)


def _id_header(decision_id: str) -> bytes:
    return OkHttpResponse(headers=[_header(DECISION_ID, encode_value(decision_id))]).SerializeToString()


@lru_cache(maxsize=_CACHED_PARTS)
def _identity(
    kind: PrincipalKind, subject: str | None, tenant: str | None, domain: str | None, roles: tuple[str, ...]
) -> tuple[bytes, bytes, bytes]:
    """Return what every allow of this identity repeats: two parts of an OkHttpResponse, and a Struct."""
    headers = identity_headers(kind, subject, tenant, domain, roles)
    values = OkHttpResponse(headers=[_header(name, value) for name, value in headers.values])
    return values.SerializeToString(), _removal(headers.removed), _member("subject", subject)


def _forwarded(forwarded: ForwardedHeaders) -> tuple[bytes, bytes]:
    """Return two parts of an OkHttpResponse, which are kept: the headers to set, and those to remove."""
    values = OkHttpResponse(headers=[_header(name, value) for name, value in forwarded.values])
    forwarded.parts = values.SerializeToString(), _removal(forwarded.removed)
    return forwarded.parts


def _removal(names: Iterable[str]) -> bytes:
    return OkHttpResponse(headers_to_remove=names).SerializeToString()


def _metadata(verdict: Verdict) -> bytes:
    target, rule_id = verdict.target, None if verdict.rule is None else verdict.rule.id
    resource, action = (None, None) if target is None else (target.resource, target.action)
    encode = _verdict if resource is None or len(resource) <= _CACHED_LENGTH else _verdict.__wrapped__
    return encode(
        verdict.effect, verdict.reason, rule_id, verdict.tenant, resource, action, verdict.policies.revision
    )


@lru_cache(maxsize=_CACHED_PARTS)
def _verdict(
    effect: Effect,
    reason: Reason,
    rule_id: str | None,
    tenant: str | None,
    resource: str | None,
    action: str | None,
    revision: int | None,
) -> bytes:
    """Return the metadata, a Struct, that does not depend on the principal; null where unknown."""
    members: dict[str, str | int | None] = {
        "decision": effect.value,
        "reason": reason.value,
        "matched_rule_id": rule_id,
        "tenant": tenant,
        "resource": resource,
        "action": action,
        "policy_revision": revision,
    }
    return b"".join(_member(name, value) for name, value in members.items())


def _denied_head(reason: Reason, *, for_grpc: tuple[bool, ...]) -> bytes:
    """Return status and headers of a denial for the given kinds of caller, a DeniedHttpResponse."""
    headers = dict(pair for is_grpc in for_grpc for pair in denial_headers(reason, is_grpc=is_grpc))
    return DeniedHttpResponse(
        status=HttpStatus(code=reason.http_status),
        headers=[_header(name, value) for name, value in headers.items()],
    ).SerializeToString()


_DENIED_HEADS: Final = {
    (reason, is_grpc): _denied_head(reason, for_grpc=(is_grpc,))
    for reason in Reason
    for is_grpc in (False, True)
}
_UUID: Final = re.compile("[0-9a-f-]{36}")
_ANY_UUID: Final = "0" * 36
_ID_HEADER_FRAME: Final = _id_header(_ANY_UUID).split(_ANY_UUID.encode())
_ID_MEMBER_FRAME: Final = _member("decision_id", _ANY_UUID).split(_ANY_UUID.encode())
_INTERNAL_ERROR: Final = _internal_error(None)
