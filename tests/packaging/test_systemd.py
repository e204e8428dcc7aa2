"""The systemd units: accepted by systemd, hardened, and in step with the settings and the process."""

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from extauthz.cli import main
from extauthz.demo.processes import LOOPBACK, ReservedPorts
from extauthz.settings import Settings, load_settings, variables
from extauthz.shipped import shipped
from tests.light_processes import LIGHT

ROOT = Path(__file__).resolve().parents[2]
UNITS = ROOT / "deploy" / "systemd"
NAMES = ("extauthz", "extauthz-sidecar", "extauthz-migrate")
SECRETS = frozenset(variable.name for variable in variables().values() if variable.secret)
KNOWN = frozenset(variable.name for variable in variables().values())
EXPOSURE_MOST = 2.0
PR_SET_MDWE = 65
PR_MDWE_REFUSE_EXEC_GAIN = 1


def members(name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in (UNITS / f"{name}.service").read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(key, []).append(value)
    return found


def environment(name: str) -> dict[str, str]:
    """Return the environment of a unit; systemd lets a file win over the unit itself."""
    unit = members(name)
    own = dict(each.split("=", 1) for line in unit.get("Environment", []) for each in line.split())
    (file,) = unit["EnvironmentFile"]
    lines = (UNITS / Path(file).name).read_text().splitlines()
    from_file = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert own.keys().isdisjoint(from_file), "the file would win over the unit"
    return own | from_file


def analyze(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = shutil.which("systemd-analyze")
    if command is None:
        pytest.skip("systemd-analyze is not on PATH")
    return subprocess.run([command, *arguments], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", NAMES)
def test_systemd_accepts_the_unit(name: str, tmp_path: Path) -> None:
    # The command is not installed here; systemd looks whether it is there.
    for each in NAMES:
        text = (UNITS / f"{each}.service").read_text().replace("/opt/extauthz/bin/extauthz", sys.executable)
        (tmp_path / f"{each}.service").write_text(text)

    done = analyze("verify", "--man=no", tmp_path / f"{name}.service")

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", NAMES)
def test_little_of_the_machine_is_exposed(name: str) -> None:
    done = analyze("security", "--offline=true", UNITS / f"{name}.service")
    if "unrecognized option" in done.stderr:
        pytest.skip("systemd-analyze cannot judge files before systemd 250")

    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert level is not None, done.stdout
    assert float(level[1]) <= EXPOSURE_MOST


@pytest.mark.parametrize("name", NAMES)
def test_settings_are_known_and_secrets_are_credentials(name: str, tmp_path: Path) -> None:
    environ = environment(name)
    credentials = {each.split(":", 1)[0] for each in members(name)["LoadCredential"]}
    secret = tmp_path / "secret"
    secret.write_text("s" * 40)

    assert environ.keys().isdisjoint(SECRETS)
    of_files = {key: value for key, value in environ.items() if key.endswith("_FILE") and key not in KNOWN}
    assert {key.removesuffix("_FILE") for key in of_files} <= SECRETS
    assert {value.removeprefix("%d/") for value in of_files.values()} == credentials
    loaded = load_settings(environ | dict.fromkeys(of_files, str(secret)), serving=name != "extauthz-migrate")
    assert isinstance(loaded, Settings), loaded
    roles = {"extauthz": "writer", "extauthz-sidecar": "reader", "extauthz-migrate": "owner"}
    assert loaded.postgres_user == f"extauthz_{roles[name]}"


@pytest.mark.parametrize("name", NAMES)
def test_units_run_known_commands(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = members(name)["ExecStart"]
    _, *arguments = line.split()

    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--help"])

    assert ended.value.code == 0
    assert f"extauthz {arguments[0]}" in capsys.readouterr().out


# Refuses memory that is writable and executable in the process that follows, as the units do.
STARTER = f"""
import ctypes, os, sys
if ctypes.CDLL(None).prctl({PR_SET_MDWE}, {PR_MDWE_REFUSE_EXEC_GAIN}, 0, 0, 0) != 0:
    sys.stderr.write("this kernel cannot refuse it\\n")
os.execv(sys.executable, [sys.executable, "-m", "extauthz", "sidecar"])
"""


def test_a_sidecar_tells_systemd_of_its_readiness_without_writable_code(tmp_path: Path) -> None:
    """Type=notify, with MemoryDenyWriteExecute where the kernel has it (Linux 6.3)."""
    ports = ReservedPorts()
    grpc, health = ports.take(2)
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    channel.bind(str(tmp_path / "notify"))
    channel.settimeout(60)
    environ = {
        **LIGHT,
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "OIDC_ENABLED": "false",
        "POLICY_SOURCE": f"files:{shipped('policies/demo')}",
        "GRPC_PORT": str(grpc),
        "SIDECAR_PORT": str(health),
        "HOST": LOOPBACK,
        "DECISION_LOG": str(tmp_path / "decisions.jsonl"),
    }
    process = subprocess.Popen([sys.executable, "-c", STARTER], env=environ, stderr=subprocess.PIPE)
    try:
        assert channel.recv(100) == b"READY=1"
        process.terminate()
        assert channel.recv(100) == b"STOPPING=1"
        _, log = process.communicate(timeout=30)
        assert process.returncode == 0, log
    finally:
        process.kill()
        process.wait()
        channel.close()
        ports.release()
