"""Hostile input is cheaper than good input: what each kind costs us, and what it costs those beside it.

The first half is CPU of one pinned core: the whole check, log line included, less decoding the message. The
second half is the latency of honest requests in one run: alone, and beside a connection that floods with each
kind, honest ones among them. `flooding` says how it is measured, and why so.
"""

import os
import tempfile
from pathlib import Path

from extauthz.check.extauthz_check_pb2 import CheckRequest
from tests.benchmarks.bench_check import as_a_worker
from tests.benchmarks.flooding import measured_latencies
from tests.benchmarks.measuring import keep, pin, quiet_us
from tests.builders import check_request, read_answer
from tests.real_service import RealService, real_service, token

LIMIT_US = 1_000.0
LIMIT_P99_RATIO = 2.0
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
    """What everybody sends."""
    headers = {
        "authorization": f"Bearer {token()}",
        "accept": "application/json",
        "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)",
        "x-request-id": "6f1c2a8e-3f7b-4a8f-9a64-0d1f6c6a7c11",
    }
    return check_request("/invoices/4711?verbose=1", headers=headers)


def requests() -> dict[str, bytes]:
    """What everybody sends, and what somebody sends who wants us busy.

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


def main() -> None:
    """Measure both halves."""
    as_a_worker()
    pin(1)
    everything = requests()
    with tempfile.TemporaryDirectory() as folder, real_service(Path(folder), POLICIES) as running:
        costs = {name: cost(running, raw) for name, raw in everything.items()}
    found = measured_latencies(everything, POLICIES)
    numbers = {
        "limit_us": LIMIT_US,
        "limit_p99_ratio": LIMIT_P99_RATIO,
        "costs": costs,
        "honest_requests_beside_a_flood_of": found.checking,
        "the_same_with_a_server_doing_nothing": found.doing_nothing,
        "cores_that_others_took": found.others_busy,
        "load_average": round(os.getloadavg()[0], 2),
    }
    keep("hostile", numbers)


if __name__ == "__main__":
    main()
