"""The decision log of a sidecar behind Envoy: masked, sampled and chained, in a file and at a collector."""

import json
import time
from pathlib import Path
from typing import Any

from tests.command_line import run_extauthz
from tests.e2e.gate import RSA, Posture, bearer, gate
from tests.otlp_collector import grpc_collector
from tests.tokens import claims

KEY = "c" * 32
CAREFUL = Posture(careful=True, fail_open=False)
SETTINGS: dict[str, Any] = {
    "DECISION_LOG_MASK": "subject:hash,source_address:drop",
    "DECISION_LOG_MASK_KEY": "m" * 32,
    "DECISION_LOG_SAMPLE_ALLOWS": "0",
    "DECISION_LOG_CHAIN": "on",
    "DECISION_LOG_CHAIN_KEY": KEY,
}


def asked(folder: Path, **settings: Any) -> None:
    """Ask with a token about a path that names its subject, allowed and denied, then end the sidecar."""
    with gate(folder, **(SETTINGS | settings)) as running:
        now = int(time.time())
        token = bearer(
            RSA.sign(claims(iss=running.provider.issuer, sub="carol@example.com", iat=now - 5, exp=now + 600))
        )
        for _ in range(5):
            assert running.send(CAREFUL, b"/users/carol@example.com/mail", token).status == 200
        assert running.send(CAREFUL, b"/admin/users/carol%40example.com", token).status == 403
        running.sidecar.stop(grace_s=15)


def judged(lines: list[bytes]) -> dict[str, Any]:
    ended = run_extauthz(
        "logs", "verify", "-", environ={"DECISION_LOG_CHAIN_KEY": KEY}, stdin=b"".join(lines)
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def assert_masked_and_counted(lines: list[bytes]) -> None:
    report = judged(lines)
    # The gate has asked as well, until the proxy was ready.
    assert report["sampled_out"] >= 5
    assert report["decisions_lost"] == 0
    assert report["without_stop_line"] == []
    text = b"".join(lines)
    assert b"carol" not in text
    assert b"127.0.0.1" not in text
    [denial] = [line for line in map(json.loads, lines) if "/admin" in str(line.get("path"))]
    assert denial["path"] == f"/admin/users/{denial['subject']}"
    assert denial["subject"].startswith("hmac:")
    assert set(denial["masked"]) == {"subject", "path", "source_address"}


def test_a_file_of_masked_sampled_and_chained_lines(tmp_path: Path) -> None:
    asked(tmp_path)
    lines = (tmp_path / "decisions.jsonl").read_bytes().splitlines(keepends=True)
    assert_masked_and_counted(lines)
    [place] = [number for number, line in enumerate(lines) if b'"decision":"deny"' in line]
    edited = lines.copy()
    edited[place] = edited[place].replace(b'"deny"', b'"Deny"')
    (tmp_path / "edited").write_bytes(b"".join(edited))
    found = run_extauthz("logs", "verify", tmp_path / "edited", environ={"DECISION_LOG_CHAIN_KEY": KEY})
    assert found.returncode == 1
    assert json.loads(found.stdout)["chain_errors"][0]["line"] == place + 1


def test_a_collector_gets_the_same(tmp_path: Path) -> None:
    with grpc_collector() as collector:
        asked(
            tmp_path,
            DECISION_LOG="otlp",
            OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{collector.port}",
            OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
        )
        assert_masked_and_counted(
            [record.body.string_value.encode() + b"\n" for record in collector.log_records]
        )
    assert not (tmp_path / "decisions.jsonl").exists()
