"""Outcome to CheckResponse bytes; the only place in the project that can say OK.

Envoy reads `status.code` alone, and an empty message as an allow. So every response begins with an explicit
status, and whatever is not a complete allow is a denial. INVARIANT: OK is written only for an allow that
names its principal and the request whose headers it cleans.
"""

import re
from functools import lru_cache
from typing import Final

from extauthz.check.denial import denial_body, denial_headers
from extauthz.check.identity_headers import DECISION_ID, encode_value, identity_headers, spellings_to_remove
from extauthz.check.wire_format import field, field_head, integer_field, repeated, struct_entry, text
from extauthz.domain.decision import Outcome
from extauthz.domain.principal import Principal, PrincipalKind
from extauthz.domain.reasons import DENIED_HTTP_STATUS, Effect, Reason
from extauthz.domain.request import RequestFacts

# CheckResponse has status = 1 (google.rpc.Status, code = 1) and the three fields named here.
_OK_STATUS: Final = field(1, b"")  # present, and its code zero: proto3 writes no zeros
_DENIED_STATUS: Final = field(1, integer_field(1, 7))  # google.rpc.Code.PERMISSION_DENIED
_DENIED_RESPONSE: Final = 2
_OK_RESPONSE: Final = 3
_DYNAMIC_METADATA: Final = 4
# DeniedHttpResponse has status = 1 (HttpStatus, code = 1), headers and body; OkHttpResponse headers, too.
_HEADERS: Final = 2
_BODY: Final = 3
_HEADERS_TO_REMOVE: Final = 5

_ALLOW: Final = Effect.ALLOW  # looked up in its class it costs a call
_DENY: Final = Effect.DENY

_CACHED_FRAGMENTS: Final = 8192
"""Of identities, and as many of verdicts: a thousand tenants ask for several resources each, and encoding one
that was not kept takes 6 to 10 us. An entry has some 650 bytes."""
_CACHED_LENGTH: Final = 512
"""Longer texts are encoded afresh each time, so that what strangers ask for fills a dozen megabytes."""


def write(outcome: Outcome) -> bytes:
    """Return the answer to Envoy: the allow if it is complete, otherwise a denial."""
    decision, principal, request = outcome.decision, outcome.principal, outcome.request
    effect = decision.effect
    if effect is _ALLOW and principal is not None and isinstance(request, RequestFacts):
        return _ok(outcome, principal, request)
    reason = decision.reason if effect is _DENY else Reason.INTERNAL_ERROR
    return _denied(outcome, reason, is_grpc=request is not None and request.is_grpc)


def says_ok(response: bytes) -> bool:
    """Tell whether a response that `write` built lets the request pass."""
    return response.startswith(_OK_BEGINNING)


def internal_error(decision_id: str | None = None) -> bytes:
    """Return the denial for when something broke on the way to an answer; it fits every kind of caller.

    Without an id it was built at import, so that nothing can go wrong any more.
    """
    return _INTERNAL_ERROR if decision_id is None else _internal_error(decision_id)


def _ok(outcome: Outcome, principal: Principal, request: RequestFacts) -> bytes:
    set_headers, removed, subject_entry = _identity_fragments(
        principal.kind, principal.id, outcome.tenant, principal.domain, outcome.roles
    )
    id_header, id_entry = _decision_id(outcome.decision_id)
    strip_headers = request.strip_headers
    if strip_headers:
        removed += repeated(_HEADERS_TO_REMOVE, spellings_to_remove(strip_headers))
    verdict = _verdict_of(outcome, _ALLOW, outcome.decision.reason)
    # Every octet is copied once.
    return b"".join(
        (
            _OK_STATUS,
            field_head(_OK_RESPONSE, len(set_headers) + len(id_header) + len(removed)),
            set_headers,
            id_header,
            removed,
            field_head(_DYNAMIC_METADATA, len(verdict) + len(subject_entry) + len(id_entry)),
            verdict,
            subject_entry,
            id_entry,
        )
    )


def _denied(outcome: Outcome, reason: Reason, *, is_grpc: bool) -> bytes:
    body = denial_body(reason, outcome.decision_id, is_grpc=is_grpc)
    subject = None if outcome.principal is None else outcome.principal.id
    _, id_entry = _decision_id(outcome.decision_id)
    metadata = _verdict_of(outcome, _DENY, reason) + struct_entry("subject", subject)
    return (
        _DENIED_STATUS
        + field(_DENIED_RESPONSE, _DENIED_HEADS[reason, is_grpc] + field(_BODY, text(body)))
        + field(_DYNAMIC_METADATA, metadata + id_entry)
    )


def _internal_error(decision_id: str | None) -> bytes:
    """Build the last resort; who asks is not known, so it is JSON and names a `grpc-status` as well."""
    reason = Reason.INTERNAL_ERROR
    body = denial_body(reason, decision_id, is_grpc=False)
    metadata = _verdict(Effect.DENY, reason, None, None, None, None, None)
    metadata += struct_entry("subject", None) + struct_entry("decision_id", decision_id)
    return (
        _DENIED_STATUS
        + field(_DENIED_RESPONSE, _denied_head(reason, for_grpc=(False, True)) + field(_BODY, text(body)))
        + field(_DYNAMIC_METADATA, metadata)
    )


def _header(name: str, value: str) -> bytes:
    """Encode one entry of `headers`: a HeaderValueOption that overwrites under every version of Envoy.

    Up to 1.36 an unset `append` overwrites, later it can append, so both flags are written:
    header = 1 (HeaderValue: key = 1, value = 2), append = 2 (BoolValue, false), append_action = 3
    (OVERWRITE_IF_EXISTS_OR_ADD = 2).
    """
    header_value = field(1, text(name)) + field(2, text(value))
    return field(_HEADERS, field(1, header_value) + field(2, b"") + integer_field(3, 2))


def _decision_id(decision_id: str) -> tuple[bytes, bytes]:
    """Encode the id as request header and as metadata entry; UUIDs are of one length and fit into a frame."""
    if _UUID.fullmatch(decision_id) is None:
        return _header(DECISION_ID, encode_value(decision_id)), struct_entry("decision_id", decision_id)
    encoded = decision_id.encode("ascii")
    return encoded.join(_ID_HEADER_FRAME), encoded.join(_ID_ENTRY_FRAME)


@lru_cache(maxsize=_CACHED_FRAGMENTS)
def _identity_fragments(
    kind: PrincipalKind, subject: str | None, tenant: str | None, domain: str | None, roles: tuple[str, ...]
) -> tuple[bytes, bytes, bytes]:
    """Return what every allow of this identity repeats: headers set, headers removed, metadata entry."""
    headers = identity_headers(kind, subject, tenant, domain, roles)
    return (
        b"".join(_header(name, value) for name, value in headers.values),
        repeated(_HEADERS_TO_REMOVE, headers.removed),
        struct_entry("subject", subject),
    )


def _verdict_of(outcome: Outcome, effect: Effect, reason: Reason) -> bytes:
    decision, _, _, _, _, target, tenant, revision, _, _, _ = outcome
    if target is None:
        return _verdict(effect, reason, decision.rule_id, tenant, None, None, revision)
    resource = target.resource
    encode = _verdict if len(resource) <= _CACHED_LENGTH else _verdict.__wrapped__
    return encode(effect, reason, decision.rule_id, tenant, resource, target.action, revision)


@lru_cache(maxsize=_CACHED_FRAGMENTS)
def _verdict(
    effect: Effect,
    reason: Reason,
    rule_id: str | None,
    tenant: str | None,
    resource: str | None,
    action: str | None,
    revision: int | None,
) -> bytes:
    """Encode the dynamic metadata that does not depend on who asks; null where unknown."""
    entries: dict[str, str | int | None] = {
        "decision": effect.value,
        "reason": reason.value,
        "matched_rule_id": rule_id,
        "tenant": tenant,
        "resource": resource,
        "action": action,
        "policy_revision": revision,
    }
    return b"".join(struct_entry(name, value) for name, value in entries.items())


def _denied_head(reason: Reason, *, for_grpc: tuple[bool, ...]) -> bytes:
    """Encode status and headers of a denial for the given kinds of caller."""
    headers = dict(pair for is_grpc in for_grpc for pair in denial_headers(reason, is_grpc=is_grpc))
    status = field(1, integer_field(1, DENIED_HTTP_STATUS[reason]))
    return status + b"".join(_header(name, value) for name, value in headers.items())


_DENIED_HEADS: Final = {
    (reason, is_grpc): _denied_head(reason, for_grpc=(is_grpc,))
    for reason in Reason
    for is_grpc in (False, True)
}
_OK_BEGINNING: Final = _OK_STATUS + field_head(_OK_RESPONSE, 0)[:-1]
_UUID: Final = re.compile("[0-9a-f-]{36}")
_ANY_UUID: Final = "0" * 36
_ID_HEADER_FRAME: Final = _header(DECISION_ID, _ANY_UUID).split(text(_ANY_UUID))
_ID_ENTRY_FRAME: Final = struct_entry("decision_id", _ANY_UUID).split(text(_ANY_UUID))
_INTERNAL_ERROR: Final = _internal_error(None)
