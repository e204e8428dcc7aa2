"""The cost of hostile requests, in honest ones: in-process, at the gRPC port, and through Envoy.

No kind through Envoy as shipped, and none sent to the grpcio port directly, costs more than ten honest ones.
What a process of the same host sends to the native port is measured as well (docs/hardening.md: accepted).
The last part is the latency of honest requests next to a flood on another connection. `hostile_costs` and
`flooding` say how each is measured, and why so.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

from extauthz.check.extauthz_check_pb2 import CheckRequest
from extauthz.telemetry.logs import configure
from tests.benchmarks.bench_check import as_a_worker
from tests.benchmarks.flooding import measured_latencies
from tests.benchmarks.hostile_costs import (
    Kind,
    bursts,
    calls,
    compressed,
    empty,
    measured_costs,
    never_finished,
    pings,
    reset_at_once,
    streams,
)
from tests.benchmarks.hostile_costs import requests as http
from tests.benchmarks.measuring import keep, pin, quiet_us
from tests.builders import check_request, read_answer
from tests.real_service import RealService, real_service, token

LIMIT_HONEST_ONES = 10
MOST_BYTES = 1024 * 1024
FIRST_SEEN = 8_000
CALLS = 10
POLICIES = {
    "resources": [
        {
            "name": "invoice:read",
            "serviceName": "billing",
            "routes": [{"methods": ["GET"], "path": "/invoices/{number}"}],
        }
    ],
    "role_rules": [
        {"id": "all", "sub": "*", "dom": "*", "obj": "invoice:read", "act": "read", "effect": "allow"}
    ],
    # The worst for hostile requests: a condition that reads the query of each of them.
    "attribute_policies": [
        {
            "id": "reads-the-request",
            "name": "reads what an attacker writes",
            "resource": "invoice:read",
            "effect": "deny",
            "rule_data": {
                "type": "CONDITION",
                "attribute": "request.query.blocked",
                "operator": "eq",
                "value": "yes",
            },
        }
    ],
}


def honest() -> bytes:
    """The headers of a usual request."""
    headers = {
        "authorization": f"Bearer {token()}",
        "accept": "application/json",
        "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
        "x-request-id": "6f1c2a8e-3f7b-4a8f-9a64-0d1f6c6a7c11",
    }
    return check_request("/invoices/4711?verbose=1", headers=headers)


def requests() -> dict[str, bytes]:
    """A usual request, and requests that cost the server the most.

    With a good token where that makes us work longer.
    """
    good = {"authorization": f"Bearer {token()}"}
    header, _, signature = token().split(".")
    query = "&".join(f"name{number}=%41{number}" for number in range(10_000))
    path = "/invoices/" + "/".join("%41bc%20d" for _ in range(7_300))
    named = {f"x-custom-{number}": "value" for number in range(1_000)}
    spoofed = {f"x-auth-{number}": "value" for number in range(1_000)}
    return {
        "honest": honest(),
        "token_1_mb": check_request("/invoices/1", headers={"authorization": "Bearer " + "A" * 1_000_000}),
        "token_of_dots_1_mb": check_request(
            "/invoices/1", headers={"authorization": "Bearer " + "." * 1_000_000}
        ),
        "token_16_kb": check_request(
            "/invoices/1", headers={"authorization": f"Bearer {header}.{'e30' * 5_300}.{signature}"}
        ),
        "query_10000_parameters": check_request(f"/invoices/1?{query}", headers=good),
        "query_10000_times_blocked": check_request(f"/invoices/1?{'blocked=%41&' * 10_000}", headers=good),
        "path_64_kib": check_request(path[: 64 * 1024], headers=good),
        "path_8_kib_of_escapes": check_request("/invoices/" + "%41" * 2_700, headers=good),
        "headers_1000": check_request("/invoices/1", headers=good | named),
        "headers_1000_identities": check_request("/invoices/1", headers=good | spoofed),
    }


def cost(running: RealService, raw: bytes) -> dict[str, object]:
    """Measure one request: decoding it, and everything that comes after."""

    def checks() -> int:
        for _ in range(CALLS):
            running.service.answer(raw, 0.2)
        assert running.log.flush(30)
        return CALLS

    def decodings() -> int:
        for _ in range(CALLS):
            CheckRequest.FromString(raw)
        return CALLS

    whole, decode = quiet_us(checks, groups=5), quiet_us(decodings, groups=5)
    answer = read_answer(running.service.answer(raw, 0.2))
    return {
        "request_bytes": len(raw),
        "decode_us": decode,
        "check_after_decoding_us": round(whole - decode, 1),
        "answer": "allow" if answer.allowed else str(answer.metadata["reason"]),
    }


def direct() -> dict[str, Kind]:
    """Requests that a process sends to the gRPC port itself."""
    good = {"authorization": f"Bearer {token()}"}
    padding = check_request("/invoices/1", headers=good)
    most = MOST_BYTES - 2 * len(padding)
    return {
        **{name: calls(raw) for name, raw in requests().items()},
        "tokens_seen_first": calls([check_request("/invoices/1", headers=each) for each in first_seen()]),
        "tokens_forged": calls([check_request("/invoices/1", headers=each) for each in forged()]),
        "query_of_1_field_1_mb": calls(check_request("/invoices/1?a=" + "%41" * (most // 6), headers=good)),
        "header_1_mb": calls(check_request("/invoices/1", headers=good | {"x-long": "v" * most})),
        "headers_2000_repeated": calls(check_request("/invoices/1", raw_headers=[("x-same", b"v")] * 2000)),
        "message_1_mb_of_zeros": calls(bytes(MOST_BYTES)),
        "message_2_mb": calls(
            check_request("/invoices/1", headers={"x-long": "v" * (2 * MOST_BYTES - 1000)})
        ),
        "message_5_mb": calls(b"x" * 5_000_000),
        "message_20_mb": calls(b"x" * 20_000_000),
        "metadata_900_kb": calls(padding, tuple((f"x-{number}", "v" * 9000) for number in range(100))),
        "empty": streams(empty),
        "compressed_20_mb": streams(compressed, 4),
        "never_finished": never_finished,
        "reset_at_once": reset_at_once,
        "pings": pings,
    }


def through_envoy() -> dict[str, Kind]:
    """Requests that a client sends to the shipped Envoy."""
    good = {"authorization": f"Bearer {token()}"}
    almost = 58 * 1024
    usual = {"accept": "application/json", "user-agent": "Mozilla/5.0 (X11; Linux x86_64)"}
    return {
        "honest": http(good | usual),
        "without_a_token": http(usual),
        "tokens_seen_first": http(*first_seen()),
        "tokens_forged": http(*forged()),
        "token_58_kib": http({"authorization": "Bearer " + "A" * almost}),
        "token_of_dots_58_kib": http({"authorization": "Bearer " + "." * almost}),
        "query_29000_fields": http(good, path="/invoices/1?" + "a&" * (almost // 2)),
        "query_999_fields": http(good, path="/invoices/1?" + "&".join(f"name{n}=%41{n}" for n in range(999))),
        "query_of_escapes_58_kib": http(good, path="/invoices/1?a=" + "%41" * (almost // 3)),
        "path_8_kib_of_escapes": http(good, path="/invoices/" + "%41" * 2_700),
        "path_58_kib": http(good, path="/invoices/" + "p" * almost),
        "headers_90": http(good | {f"x-custom-{number}": "v" for number in range(90)}),
        "headers_90_identities": http(good | {f"x-auth-{number}": "v" for number in range(90)}),
        "headers_1000": http(good | {f"x-custom-{number}": "v" for number in range(1000)}),
        "header_58_kib": http(good | {"x-long": "v" * almost}),
        "header_70_kib": http(good | {"x-long": "v" * 70 * 1024}),
        "ambiguous_path": http(good, path="/invoices/%2f1"),
        "http2_bursts": bursts("/invoices/1", good, cancelled=False),
        "http2_bursts_cancelled": bursts("/invoices/1", good, cancelled=True),
    }


def first_seen() -> list[dict[str, str]]:
    """Good tokens of which no cache has any."""
    return [{"authorization": f"Bearer {token(f'user-{number}')}"} for number in range(FIRST_SEEN)]


def forged() -> list[dict[str, str]]:
    """Tokens whose signature is wrong, each another one."""
    good, _, signature = token().rpartition(".")
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    return [
        {"authorization": f"Bearer {good}.{one}{two}{signature[2:]}"} for one in letters for two in letters
    ]


def main() -> None:
    """Measure all parts; those that the command line names, when it names any."""
    as_a_worker()
    pin(1)
    configure("info", "json", stream=sys.stderr)
    parts = sys.argv[1:] or ["costs", "direct", "envoy", "latencies"]
    policies = json.dumps(POLICIES).encode()
    numbers: dict[str, object] = {"limit_honest_ones": LIMIT_HONEST_ONES}
    everything = requests()
    if "costs" in parts:
        with tempfile.TemporaryDirectory() as folder, real_service(Path(folder), POLICIES) as running:
            numbers["in_process"] = {name: cost(running, raw) for name, raw in everything.items()}
    if "direct" in parts:
        for server in ("grpcio", "native"):
            found = measured_costs(server, direct(), policies, through_envoy=False)
            numbers[f"{server}_port_directly"] = found
    if "envoy" in parts:
        for server in ("grpcio", "native"):
            found = measured_costs(server, through_envoy(), policies, through_envoy=True)
            numbers[f"through_envoy_to_{server}"] = found
    if "latencies" in parts:
        latencies = measured_latencies(everything, POLICIES)
        numbers["honest_requests_during_a_flood_of"] = latencies.checking
        numbers["the_same_with_a_server_doing_nothing"] = latencies.doing_nothing
        numbers["cores_that_others_took"] = latencies.others_busy
    numbers["load_average"] = round(os.getloadavg()[0], 2)
    keep("hostile", numbers)


if __name__ == "__main__":
    main()
