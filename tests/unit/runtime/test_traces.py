"""Traces of a process: what opens them, and that a process without them loads nothing for them."""

import subprocess
import sys
from pathlib import Path

import pytest

from extauthz.runtime.start_refused import StartRefusedError
from extauthz.runtime.traces import open_traces
from extauthz.settings import Settings, load_settings
from extauthz.telemetry.counts import Counts

WITHOUT = """
import sys
import extauthz.runtime.{module}
from extauthz.runtime.traces import open_traces
from extauthz.settings import load_settings
from extauthz.telemetry.counts import Counts
assert open_traces(load_settings({{}}, serving=False), Counts(""), instance="i", worker=0) is None
print([name for name in sys.modules if name.startswith("{package}")])
"""


# FastAPI itself imports the API of OpenTelemetry, whether or not anything is traced.
@pytest.mark.parametrize(
    ("module", "package"), [("worker", "opentelemetry"), ("control_plane", "opentelemetry.proto")]
)
def test_a_process_that_traces_nothing_loads_nothing_to_export_with(module: str, package: str) -> None:
    script = WITHOUT.format(module=module, package=package)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


def test_a_file_that_cannot_be_used_refuses_the_start(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    settings = load_settings(
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector.example:4318",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": str(file),
        },
        serving=False,
    )
    assert isinstance(settings, Settings)
    with pytest.raises(StartRefusedError, match=r"OTEL_EXPORTER_OTLP_CERTIFICATE .*ca\.pem' cannot be read"):
        open_traces(settings, Counts(""), instance="i", worker=0)
