"""Decision logs of several processes on one stream, from first line to last."""

import json
import subprocess
from pathlib import Path

from extauthz.demo.processes import ReservedPorts
from tests.integration.serving import command, environment


def test_every_log_on_one_stream_ends_with_its_last_line(tmp_path: Path) -> None:
    ports = ReservedPorts()
    nowhere = {"POSTGRES_PORT": "1", "GRPC_PORT": str(ports.take()[0])}
    environ = environment(nowhere, WORKERS="1")
    ports.release()
    with (
        (tmp_path / "errors").open("wb") as errors,
        subprocess.Popen(command("serve"), env=environ, stdout=subprocess.PIPE, stderr=errors) as serving,
    ):
        assert serving.stdout is not None
        started: set[str] = set()
        while len(started) < 2:
            line = json.loads(serving.stdout.readline())
            started |= {line["instance"]} if line["event"] == "log_started" else set()
        serving.terminate()
        last = {line["instance"]: line["event"] for line in map(json.loads, serving.stdout)}

    assert last == dict.fromkeys(started, "log_stopped")
    assert serving.returncode == 0
    assert "decision_log_failing" not in (tmp_path / "errors").read_text()
