"""CheckRequests as Envoy would send them, CheckResponses as Envoy would read them, and verdicts to write.

Both directions of the wire use envoy-data-plane (betterproto2), which shares no line with our encoder, our
generated messages or protobuf's runtime.
"""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from envoy_data_plane.envoy.config.core.v3 import Address, HeaderMap, HeaderValue, Pipe, SocketAddress
from envoy_data_plane.envoy.config.core.v3 import HeaderValueOptionHeaderAppendAction as AppendAction
from envoy_data_plane.envoy.service.auth.v3 import (
    AttributeContext,
    AttributeContextHttpRequest,
    AttributeContextPeer,
    AttributeContextRequest,
    CheckRequest,
    CheckResponse,
)
from envoy_data_plane.google.protobuf import Value

from extauthz.domain.mcp import McpMessage
from extauthz.domain.path import CanonicalPath
from extauthz.domain.policy import AuthenticationRequirement
from extauthz.domain.principal import Authentication, Principal, PrincipalKind
from extauthz.domain.reasons import Reason
from extauthz.domain.request import ContextTarget, RequestFacts
from extauthz.domain.verdict import Allowed, Denied, PolicyVersion, Rule, RuleKind, Target

DECISION_ID = "01931f3c-8d5a-7c3e-9a51-0f6f2f5b7c11"
ALICE = Principal(
    PrincipalKind.USER, "alice@example.com", "default", "finance", ("viewer",), Authentication.JWT
)
READ_INVOICE = Target(
    "default",
    "invoice:read",
    "read",
    "billing",
    MappingProxyType({"id": "42"}),
    AuthenticationRequirement.REQUIRED,
)
RULE_1 = Rule("rule-1", RuleKind.ROLE)
POLICIES = PolicyVersion(42, "epoch-1", 3)


def check_request(
    path: str = "/v1/invoices/42",
    *,
    method: str = "GET",
    host: str = "api.example.com",
    headers: Mapping[str, str] = MappingProxyType({}),
    raw_headers: Iterable[tuple[str, bytes]] | None = None,
    context_extensions: Mapping[str, str] = MappingProxyType({}),
    source_address: str | None = "10.1.2.3",
    source_pipe: str | None = None,
    source_principal: str = "",
    source_service: str = "",
    certificate: str = "",
    body: str = "",
    raw_body: bytes = b"",
) -> bytes:
    """Return a serialised CheckRequest; `raw_headers` is the form of `encode_raw_headers`, without more."""
    http = AttributeContextHttpRequest(
        id="1234567890",
        method=method,
        path=path,
        host=host,
        scheme="https",
        protocol="HTTP/1.1",
        size=-1,
        body=body,
        raw_body=raw_body,
    )
    if raw_headers is None:
        http.headers = {":authority": host, ":method": method, ":path": path, **headers}
    else:
        http.header_map = HeaderMap(
            headers=[HeaderValue(key=key, raw_value=value) for key, value in raw_headers]
        )
    return bytes(
        CheckRequest(
            attributes=AttributeContext(
                source=_peer(source_address, source_pipe, source_principal, source_service, certificate),
                destination=_peer("10.1.2.4", None, "", ""),
                request=AttributeContextRequest(http=http),
                context_extensions=dict(context_extensions),
            )
        )
    )


def network_check(*, source_principal: str = "") -> bytes:
    """Return what the network filter sends: a connection, no HTTP request."""
    return bytes(
        CheckRequest(attributes=AttributeContext(source=_peer("10.1.2.3", None, source_principal, "")))
    )


def _peer(
    address: str | None, pipe: str | None, principal: str, service: str, certificate: str = ""
) -> AttributeContextPeer:
    where = None
    if pipe is not None:
        where = Address(pipe=Pipe(path=pipe))
    elif address is not None:
        where = Address(socket_address=SocketAddress(address=address, port_value=41234))
    return AttributeContextPeer(address=where, principal=principal, service=service, certificate=certificate)


def request_facts(
    *,
    is_grpc: bool = False,
    strip_headers: tuple[str, ...] = (),
    context: ContextTarget = ContextTarget(),  # noqa: B008 - frozen
) -> RequestFacts:
    """Return the facts of a harmless request."""
    path = CanonicalPath.parse("/v1/invoices/42")
    assert isinstance(path, CanonicalPath)
    return RequestFacts(
        method="GET",
        host="api.example.com",
        path=path,
        query=None,
        headers=MappingProxyType({}),
        unknown_headers=frozenset(),
        context=context,
        source_address="10.1.2.3",
        source_principal=None,
        request_id=None,
        trace_id=None,
        is_grpc=is_grpc,
        strip_headers=strip_headers,
    )


def allowed(
    principal: Principal = ALICE,
    *,
    roles: tuple[str, ...] = ("finance", "viewer"),
    target: Target = READ_INVOICE,
    is_grpc: bool = False,
    strip_headers: tuple[str, ...] = (),
) -> Allowed:
    """Return an allow, by default for ALICE."""
    return Allowed(
        decision_id=DECISION_ID,
        rule=RULE_1,
        principal=principal,
        roles=roles,
        target=target,
        policies=POLICIES,
        request=request_facts(is_grpc=is_grpc, strip_headers=strip_headers),
    )


def denied(
    reason: Reason = Reason.NO_MATCHING_RULE,
    *,
    rule: Rule | None = None,
    principal: Principal | None = ALICE,
    target: Target | None = READ_INVOICE,
    is_grpc: bool = False,
) -> Denied:
    """Return a denial with everything that one can have, by default for ALICE."""
    return Denied(
        decision_id=DECISION_ID,
        reason=reason,
        request=request_facts(is_grpc=is_grpc),
        principal=principal,
        roles=("finance", "viewer"),
        target=target,
        tenant="default",
        policies=POLICIES,
        rule=rule,
    )


@dataclass(frozen=True)
class Answer:
    """A CheckResponse as Envoy applies it; `allowed` is its rule: `status.code` alone, absent is 0."""

    allowed: bool
    status: int | None
    headers: dict[str, str]
    removed: list[str]
    body: str
    metadata: dict[str, object]


def read_answer(raw: bytes) -> Answer:
    """Decode with the second implementation; every header must be written so that it overwrites."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of `append`, which older Envoys need
        response = CheckResponse.parse(raw)
        assert bytes(response) == raw, "the second implementation writes the same bytes"
    allowed = response.status is None or response.status.code == 0
    options = []
    status, body, removed = None, "", []
    if response.ok_response is not None:
        options, removed = response.ok_response.headers, list(response.ok_response.headers_to_remove)
    if response.denied_response is not None:
        assert response.denied_response.status is not None
        options, body = response.denied_response.headers, response.denied_response.body
        status = int(response.denied_response.status.code)
    headers: dict[str, str] = {}
    for option in options:
        assert option.append is False
        assert option.append_action is AppendAction.OVERWRITE_IF_EXISTS_OR_ADD
        assert option.header is not None
        assert option.header.value, "Envoy drops an empty value and keeps the client's"
        assert option.header.key not in headers
        headers[option.header.key] = option.header.value
    assert response.dynamic_metadata is not None
    metadata = {name: _plain(value) for name, value in response.dynamic_metadata.fields.items()}
    return Answer(allowed, status, headers, removed, body, metadata)


def _plain(value: Value) -> object:
    if value.null_value is not None:
        return None
    return value.string_value if value.string_value is not None else value.number_value


class McpBody:
    """A body that is a message of MCP."""

    def __init__(self, method: str, name: str | None) -> None:
        self._message = McpMessage(method, name)

    def message(self) -> McpMessage:
        return self._message

    def value(self, path: str) -> object:
        raise AssertionError(path)

    def exists(self, path: str) -> bool | None:
        raise AssertionError(path)

    def release(self) -> None:
        """Do nothing."""
