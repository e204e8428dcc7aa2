"""The attributes of a client's octets in conditions, through real Envoy over HTTP/1.1 and HTTP/2.

Envoy joins repeated headers with a comma and writes `!` for a byte that is not UTF-8, unless it is told to
send headers raw. What it joined or replaced is never decided as if the client had sent it.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
import yaml

from extauthz.demo import envoy
from extauthz.demo.processes import LOOPBACK, ReservedPorts, http_answers, spawn
from extauthz.domain.envoy_text import SINGLE_ENTRY_HEADERS
from tests.e2e.gate import READY_S, ask_over_http
from tests.e2e.raw_http import Reply, http1, http2_reply, http2_request, lenient_upstream, request
from tests.e2e.test_envoy_config import printed, validated
from tests.light_processes import LIGHT

NAMES = ("mode", "user-agent")
ADMIN = {"operator": "eq", "value": "admin"}


def deny(name: str, attribute: str) -> str:
    """One deny, and a resource that it is about; everything else about the resource is allowed."""
    condition = {"type": "CONDITION", "attribute": attribute, **ADMIN}
    policy = {"id": name, "name": name, "resource": f"{name}:use", "effect": "deny", "priority": 2000}
    route = {"methods": ["*"], "path": f"/{name}/**", "authentication": "optional"}
    return yaml.safe_dump(
        {
            "resources": [{"name": f"{name}:use", "serviceName": "site", "routes": [route]}],
            "role_rules": [
                {
                    "id": f"{name}-anonymous",
                    "sub": "anonymous",
                    "dom": "*",
                    "obj": f"{name}:use",
                    "act": "*",
                    "effect": "allow",
                }
            ],
            "attribute_policies": [{**policy, "rule_data": condition}],
        }
    )


PLACES = """
resources:
  - {name: "place:use", serviceName: site,
     routes: [{methods: ["*"], path: "/places/{place}", authentication: optional},
              {methods: ["*"], path: "/places/adm!in", action: special, authentication: optional}]}
role_rules:
  - {id: places, sub: anonymous, dom: "*", obj: "place:use", act: use, effect: allow}
"""


class Way(NamedTuple):
    """How Envoy asks: `raw`, `joined`, `pathless` (raw without `:path`), `http`; and its care for paths."""

    form: str
    careful: bool

    def __str__(self) -> str:
        return f"{self.form}-{'careful' if self.careful else 'careless'}"


PRINTED = Way("printed", careful=True)
RAW = Way("raw", careful=False)
JOINED = [Way("joined", careful=True), Way("joined", careful=False)]
PATHLESS = [Way("pathless", careful=True), Way("pathless", careful=False)]
OVER_HTTP = [Way("http", careful=True), Way("http", careful=False), Way("http-raw", careful=False)]
VARIANTS = [RAW, *JOINED, *PATHLESS, *OVER_HTTP]
WAYS = [PRINTED, *VARIANTS]


@dataclass
class Doors:
    """Where each way of asking listens."""

    ports: dict[Way, int]

    def http1(self, way: Way, target: bytes, *headers: tuple[bytes, bytes]) -> Reply:
        lines = [name + b": " + value for name, value in headers]
        return http1(self.ports[way], request(target, *lines))

    def http2(self, way: Way, target: bytes, *headers: tuple[bytes, bytes]) -> Reply:
        return http2_reply(self.ports[way], http2_request(target, *headers))


Send = Callable[..., Reply]
PROTOCOLS = ["http1", "http2"]


def _variant(shipped: dict[str, Any], way: Way, port: int, authz: str) -> dict[str, Any]:
    listener: dict[str, Any] = deepcopy(shipped)
    listener["name"] = str(way)
    listener["address"]["socket_address"]["port_value"] = port
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    filters = {part["name"].rpartition(".")[2]: part["typed_config"] for part in manager["http_filters"]}
    check = filters["ext_authz"]
    assert check["encode_raw_headers"] is True
    if way.form in {"joined", "http"}:
        del check["encode_raw_headers"]
    if way.form == "pathless":
        check["disallowed_headers"] = {"patterns": [{"exact": ":path"}]}
    if way.form.startswith("http"):
        scratch: dict[str, Any] = {
            "name": "http",
            "health_checks": [],
            "typed_extension_protocol_options": {},
        }
        ask_over_http(check, scratch, int(authz.rpartition(":")[2]), timeout="1s")
        check["allowed_headers"]["patterns"] += [{"exact": "x-mode"}, {"exact": "user-agent"}]
    if not way.careful:
        for name in ("normalize_path", "merge_slashes", "path_with_escaped_slashes_action"):
            del manager[name]
    return listener


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """One sidecar; Envoy exactly as `envoy-config` prints it, and one that differs by listener."""
    folder = tmp_path_factory.mktemp("bytes")
    (folder / "policies").mkdir()
    attributes = {
        "mode": "request.headers.x-mode",
        "agent": "request.headers.user-agent",
        "role": "request.query.role",
        "page": "request.path",
    }
    for name, attribute in attributes.items():
        (folder / "policies" / f"{name}.yaml").write_text(deny(name, attribute))
    (folder / "policies" / "places.yaml").write_text(PLACES)
    with ExitStack() as stack:
        upstream = stack.enter_context(lenient_upstream())
        reserved = ReservedPorts()
        stack.callback(reserved.release)
        ports = {way: reserved.take()[0] for way in WAYS}
        grpc, authz, health = (reserved.take()[0] for _ in range(3))
        environ = {
            **LIGHT,
            "OIDC_ENABLED": "false",
            "CONDITION_HEADERS": "x-mode,user-agent",
            "POLICY_SOURCE": f"files:{folder / 'policies'}",
            "DECISION_LOG": str(folder / "decisions.jsonl"),
            "GRPC_PORT": str(grpc),
            "HTTP_AUTHZ_PORT": str(authz),
            "SIDECAR_PORT": str(health),
        }
        sidecar = spawn(
            "sidecar",
            [sys.executable, "-m", "extauthz", "sidecar"],
            output=folder / "sidecar.log",
            environment=environ,
        )
        stack.callback(sidecar.kill)
        places = ["--listen", f"{LOOPBACK}:{ports[PRINTED]}", "--upstream", f"{LOOPBACK}:{upstream.port}"]
        text = printed(environ, *places)
        document = yaml.safe_load(text)
        (shipped,) = document["static_resources"]["listeners"]
        document["static_resources"]["listeners"] = [
            _variant(shipped, way, ports[way], f"{LOOPBACK}:{authz}") for way in VARIANTS
        ]
        document["static_resources"]["clusters"].append(_cluster("http", authz))
        proxies = []
        for name, configuration in (("printed", text), ("variants", yaml.safe_dump(document))):
            file = folder / f"{name}.yaml"
            file.write_text(configuration)
            validated(file)
            proxies.append(spawn(name, envoy.command(file), output=folder / f"{name}.log"))
            stack.callback(proxies[-1].kill)
        sidecar.wait_ready(lambda: http_answers(health, "/healthz/ready"), timeout_s=READY_S)
        made = Doors(ports)
        proxies[-1].wait_ready(
            lambda: all(made.http1(way, b"/mode/").status == 200 for way in WAYS), timeout_s=READY_S
        )
        yield made


def _cluster(name: str, port: int) -> dict[str, Any]:
    address = {"socket_address": {"address": LOOPBACK, "port_value": port}}
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address}}]}]
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": name, "endpoints": endpoints},
    }


def mode(*values: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"x-mode", value) for value in values]


def decided(reply: Reply) -> tuple[int, str | None]:
    return reply.status, reply.reason


KNOWN_DENY = (403, "rule_matched")
UNKNOWN_DENY = (403, "condition_unknown")
ALLOWED = (200, None)
AMBIGUOUS = (400, "path_ambiguous")
NOT_HTTP = (400, "request_malformed")
"""Octets above 0x7F in the request line of a check over HTTP: its HTTP parser refuses them."""

REPEATED_OR_REPLACED = [
    mode(b"x", b"admin"),
    mode(b"admin", b"x"),
    mode(b"admin", b"admin"),
    mode(b"admin", b""),
    mode(b"", b"admin"),
    mode(b"", b""),
    mode(b"x", b"y", b"admin"),
    mode(b"admin\xff"),
    mode(b"\xffadmin"),
    mode(b"adm\xc0\xafin"),
    mode(b"adm\xed\xa0\x80in"),
    mode(b"admin\xc3"),
    mode(b"x\xff", b"admin"),
    mode(b"\xff"),
]


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_repeated_header_or_one_with_replaced_bytes_is_unknown(
    doors: Doors, way: Way, protocol: str
) -> None:
    send: Send = getattr(doors, protocol)
    assert decided(send(way, b"/mode/x", *mode(b"admin"))) == KNOWN_DENY
    assert decided(send(way, b"/mode/x", *mode(b"x"))) == ALLOWED
    assert decided(send(way, b"/mode/x", *mode(b""))) == ALLOWED
    assert decided(send(way, b"/mode/x", *mode("café".encode()))) == ALLOWED
    assert decided(send(way, b"/mode/x")) == ALLOWED
    for headers in REPEATED_OR_REPLACED:
        assert decided(send(way, b"/mode/x", *headers)) == UNKNOWN_DENY, headers


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_real_comma_or_exclamation_mark_is_known_where_headers_are_raw(
    doors: Doors, way: Way, protocol: str
) -> None:
    send: Send = getattr(doors, protocol)
    known = way.form in {"printed", "raw", "pathless"}
    for value in (b"a,b", b"hello!", b"!", b",", b"admin!", b"x, admin"):
        reply = send(way, b"/mode/x", *mode(value))
        assert decided(reply) == (ALLOWED if known else UNKNOWN_DENY), value


BROWSER = b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_repeated_header_that_envoy_itself_joins_is_unknown(doors: Doors, protocol: str) -> None:
    """`user-agent` has one entry inside Envoy, whatever was sent, also where headers are raw."""
    send: Send = getattr(doors, protocol)
    for values in ((b"x", b"admin"), (b"admin", b"x"), (b"admin", b"admin"), (BROWSER, b"admin")):
        repeated = [(b"user-agent", value) for value in values]
        assert decided(send(PRINTED, b"/agent/x", *repeated)) == UNKNOWN_DENY, values
    dropped = send(PRINTED, b"/agent/x", (b"user-agent", b"admin"), (b"user-agent", b""))
    assert decided(dropped) == KNOWN_DENY
    assert decided(send(PRINTED, b"/agent/x", (b"user-agent", BROWSER))) == ALLOWED


def test_the_list_of_headers_that_envoy_keeps_in_one_entry_is_complete(doors: Doors) -> None:
    for name in (
        "accept", "accept-charset", "accept-encoding", "accept-language", "access-control-request-headers",
        "access-control-request-method", "cache-control", "content-encoding", "content-language",
        "content-type", "date", "expect", "forwarded", "from", "grpc-accept-encoding", "grpc-timeout",
        "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "origin",
        "pragma", "range", "referer", "user-agent", "via", "x-client-trace-id", "x-envoy-attempt-count",
        "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-custom", "x-real-ip",
    ):  # fmt: skip
        reply = doors.http1(PRINTED, b"/places/x", (name.encode(), b"one"), (name.encode(), b"two"))
        assert reply.arrival is not None, name
        arrived = [value for found, value in reply.arrival.headers if found.lower() == name.encode()]
        assert arrived, name
        assert len(arrived) == 2 or name in SINGLE_ENTRY_HEADERS, (name, arrived)


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_white_space_around_a_value_makes_it_unknown(doors: Doors, way: Way) -> None:
    """Over HTTP/2 Envoy passes it on; over HTTP/1.1 it has been removed before (RFC 9112 5.1)."""
    for value in (b" admin", b"admin ", b"\tadmin", b"admin\t", b" x"):
        removed = ALLOWED if value.strip() == b"x" else KNOWN_DENY
        # A check over HTTP comes without the white space.
        passed_on = removed if way.form.startswith("http") else UNKNOWN_DENY
        assert decided(doors.http2(way, b"/mode/x", *mode(value))) == passed_on, value
        assert decided(doors.http1(way, b"/mode/x", *mode(value))) == removed, value


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_replaced_bytes_in_the_query_make_it_unknown(doors: Doors, way: Way) -> None:
    assert decided(doors.http2(way, b"/role/x?role=admin")) == KNOWN_DENY
    assert decided(doors.http2(way, b"/role/x?role=reader")) == ALLOWED
    for query in (
        b"role=admin\xff",
        b"role=\xffadmin",
        b"r\xffole=admin",
        b"role=admin&x=\xff",
        b"\xff",
        b"role=a\xed\xa0\x80",
        b"role=reader&x=\xc3",
    ):
        reply = doors.http2(way, b"/role/x?" + query)
        assert decided(reply) == (NOT_HTTP if way.form == "http-raw" else UNKNOWN_DENY), query
        # An HTTP/1.1 request line has no such bytes for Envoy.
        assert doors.http1(way, b"/role/x?" + query).status == 400, query


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_an_escaped_control_character_makes_its_parameter_unknown(
    doors: Doors, way: Way, protocol: str
) -> None:
    send: Send = getattr(doors, protocol)
    for query in (
        b"role=admin%00",
        b"role=admin%00x",
        b"role=%00",
        b"role=admin%0a",
        b"role=%0d%0aadmin",
        b"role=%09admin",
        b"role=admin%7F",
        b"role=admin%C2%85",
        b"role%00=admin",
        b"role%0A=admin",
        b"x%00y=1",
    ):
        assert decided(send(way, b"/role/x?" + query)) == UNKNOWN_DENY, query
    # Text of several lines in another parameter does not affect this one.
    for query in (b"role=reader&text=a%0D%0Ab", b"text=%00", b"role=reader%20", b"role=%C2%A0"):
        assert decided(send(way, b"/role/x?" + query)) == ALLOWED, query
    assert decided(send(way, b"/role/x?role=admin&text=%0A")) == KNOWN_DENY


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_real_exclamation_mark_in_the_query_is_known_where_the_raw_path_is(
    doors: Doors, way: Way, protocol: str
) -> None:
    send: Send = getattr(doors, protocol)
    known = way in {PRINTED, RAW}
    for query in (b"role=reader!", b"role=reader&x=!", b"!"):
        assert decided(send(way, b"/role/x?" + query)) == (ALLOWED if known else UNKNOWN_DENY), query
    assert decided(send(way, b"/role/x?role=reader%21")) == ALLOWED
    assert decided(send(way, b"/page/x?role=a!")) == ALLOWED


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_replaced_bytes_in_the_path_are_ambiguous(doors: Doors, way: Way) -> None:
    for path in (
        b"/places/adm\xffin",
        b"/places/\xff",
        b"/places/adm\xc3\xa9in",
        b"/pla\xffces/x",
        b"/places/\xe2\x82",
    ):
        # Normalising writes the byte as an escape, which is refused for what it decodes to.
        reply = doors.http2(way, path)
        is_utf8 = path == b"/places/adm\xc3\xa9in"
        refused = NOT_HTTP if way.form == "http-raw" or (way.form == "http" and is_utf8) else AMBIGUOUS
        assert decided(reply) == (ALLOWED if way.careful and is_utf8 else refused), path
        assert doors.http1(way, path).status == 400, path


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_real_exclamation_mark_in_the_path_is_read_where_the_raw_path_is(
    doors: Doors, way: Way, protocol: str
) -> None:
    send: Send = getattr(doors, protocol)
    known = way in {PRINTED, RAW}
    assert decided(send(way, b"/places/hello!")) == (ALLOWED if known else AMBIGUOUS)
    # The literal route's action has no rule.
    assert decided(send(way, b"/places/adm!in")) == ((403, "no_matching_rule") if known else AMBIGUOUS)
    assert decided(send(way, b"/places/hello%21")) == ALLOWED


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_method_with_a_byte_that_may_be_replaced_is_refused_or_real(doors: Doors, way: Way) -> None:
    fields = [
        (b":method", b"GE!T"),
        (b":scheme", b"http"),
        (b":authority", b"site.example"),
        (b":path", b"/mode/x"),
    ]
    reply = http2_reply(doors.ports[way], fields)
    known = way.form in {"printed", "raw", "pathless"}
    assert decided(reply) == (ALLOWED if known else (400, "request_malformed"))
    fields[0] = (b":method", b"GE\xffT")
    assert http2_reply(doors.ports[way], fields).status != 200
