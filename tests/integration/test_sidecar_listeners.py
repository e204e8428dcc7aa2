"""The sidecar's listeners as settings make them: TLS whose files rotate, client names, Unix sockets."""

import datetime
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from extauthz.check.grpcio_server import CHECK_SERVICE
from extauthz.demo.processes import LOOPBACK, Child, ReservedPorts, http_answers, spawn
from extauthz.runtime.tls_files import CertificateFiles, InvalidCertificateError
from tests.builders import check_request, read_answer
from tests.certificates import Authority, Certificate
from tests.light_processes import LIGHT

CHECK = f"/{CHECK_SERVICE}/Check"
SIDECAR: list[str | Path] = [sys.executable, "-m", "extauthz", "sidecar"]
GATEWAY = "spiffe://cluster.local/ns/edge/sa/gateway"


def environment(folder: Path, ports: ReservedPorts, **more: str) -> dict[str, str]:
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies" / "all.yaml").write_text("resources: []\n")
    return {
        **LIGHT,
        "OIDC_ENABLED": "false",
        "POLICY_SOURCE": f"files:{folder / 'policies'}",
        "DECISION_LOG": str(folder / "decisions.jsonl"),
        "SIDECAR_PORT": str(ports.take()[0]),
        "GRPC_PORT": str(ports.take()[0]),
        **more,
    }


@pytest.fixture
def ports() -> Iterator[ReservedPorts]:
    reserved = ReservedPorts()
    yield reserved
    reserved.release()


@contextmanager
def sidecar(
    folder: Path, environ: Mapping[str, str], command: Sequence[str | Path] = SIDECAR
) -> Iterator[Child]:
    child = spawn("sidecar", command, output=folder / "sidecar.log", environment=environ)
    try:
        child.wait_ready(lambda: http_answers(int(environ["SIDECAR_PORT"]), "/healthz/ready"), timeout_s=20)
        yield child
    finally:
        child.kill()


def replace(file: Path, content: bytes) -> None:
    """Replace a file as tools that rotate certificates do: write another, then rename it."""
    written = file.with_suffix(".new")
    written.write_bytes(content)
    written.rename(file)


def asked(address: str, trusted: Authority | None, client: Certificate | None = None) -> bytes:
    if trusted is None:
        channel = grpc.insecure_channel(address)
    else:
        shown = (None, None) if client is None else (client.key, client.chain)
        channel = grpc.secure_channel(address, grpc.ssl_channel_credentials(trusted.pem, *shown))
    with channel:
        return bytes(channel.unary_unary(CHECK, None, None)(check_request("/x"), timeout=5))


def refused(address: str, trusted: Authority | None, client: Certificate | None = None) -> bool:
    try:
        asked(address, trusted, client)
    except grpc.RpcError:
        return True
    return False


def assert_logged_once(folder: Path, problem: str, handshake: Callable[[], object]) -> None:
    handshake()
    lines = [line for line in (folder / "sidecar.log").read_text().splitlines() if problem in line]
    assert len(lines) == 1
    assert json.loads(lines[0])["event"] == "tls_reload_failed"


def test_certificates_are_replaced_while_the_sidecar_runs(tmp_path: Path, ports: ReservedPorts) -> None:
    old, new, clients = Authority("old"), Authority("new"), Authority("clients")
    first, second = old.issue("extauthz.internal"), new.issue("extauthz.internal")
    chain, key, client_ca = (tmp_path / name for name in ("tls.crt", "tls.key", "ca.crt"))
    for file, content in ((chain, first.chain), (key, first.key), (client_ca, clients.pem)):
        file.write_bytes(content)
    environ = environment(
        tmp_path,
        ports,
        GRPC_TLS_CERT=str(chain),
        GRPC_TLS_KEY=str(key),
        GRPC_TLS_CLIENT_CA=str(client_ca),
        GRPC_TLS_CLIENT_SANS=f"envoy.internal,{GATEWAY}",
    )
    address = f"{LOOPBACK}:{environ['GRPC_PORT']}"
    proxy = clients.issue("gateway", uris=(GATEWAY,))
    with sidecar(tmp_path, environ):
        assert read_answer(asked(address, old, proxy)).status == 401
        assert read_answer(asked(address, old, clients.issue("envoy.internal"))).status == 401
        # Known to the CA, but none of the names: denied inside of the answer.
        assert read_answer(asked(address, old, clients.issue("other"))).status == 503
        assert refused(address, old)
        assert refused(address, old, old.issue("envoy.internal"))
        assert refused(address, None)
        assert refused(address, new, proxy)

        replace(chain, second.chain)
        # One of the two files is not a rotation.
        assert read_answer(asked(address, old, proxy)).status == 401
        assert_logged_once(
            tmp_path, "is not the key of the first certificate", lambda: asked(address, old, proxy)
        )
        replace(key, second.key)
        assert read_answer(asked(address, new, proxy)).status == 401
        assert refused(address, old, proxy)

        expired = new.issue(
            "extauthz.internal", valid_from=datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
        )
        replace(chain, expired.chain)
        replace(key, expired.key)
        assert read_answer(asked(address, new, proxy)).status == 401
        assert_logged_once(tmp_path, "expired at 2020-01-01T01:00:00Z", lambda: asked(address, new, proxy))
        replace(chain, second.chain)
        replace(key, second.key)

        other_clients = Authority("other clients")
        replace(client_ca, other_clients.pem)
        assert refused(address, new, proxy)
        assert read_answer(asked(address, new, other_clients.issue("envoy.internal"))).status == 401
        chain.unlink()
        assert read_answer(asked(address, new, other_clients.issue("envoy.internal"))).status == 401


def test_each_worker_listens_on_a_unix_socket_of_its_own(tmp_path: Path, ports: ReservedPorts) -> None:
    sockets = tmp_path / "s"
    sockets.mkdir()
    environ = environment(tmp_path, ports, GRPC_UDS_DIR=str(sockets), WORKERS="2")
    with sidecar(tmp_path, environ) as child:
        for index in range(2):
            assert read_answer(asked(f"unix:{sockets}/worker-{index}.sock", None)).status == 401
        assert refused(f"{LOOPBACK}:{environ['GRPC_PORT']}", None)
        assert sorted(file.name for file in sockets.iterdir()) == ["worker-0.sock", "worker-1.sock"]
        child.kill()
    # What a killed sidecar leaves does not keep the next one from starting.
    with sidecar(tmp_path, environ):
        assert read_answer(asked(f"unix:{sockets}/worker-0.sock", None)).status == 401


def test_no_module_is_taken_from_the_folder_it_is_started_in(
    tmp_path: Path, ports: ReservedPorts, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    for name in ("http", "extauthz", "grpc", "sitecustomize"):
        (here / f"{name}.py").write_text(f"open({str(tmp_path / 'taken')!r}, 'a').write({name!r})\n")
    environ = environment(tmp_path, ports)
    monkeypatch.chdir(here)
    with sidecar(tmp_path, environ, [Path(sys.executable).with_name("extauthz"), "sidecar"]):
        assert read_answer(asked(f"{LOOPBACK}:{environ['GRPC_PORT']}", None)).status == 401
    assert not (tmp_path / "taken").exists()


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"GRPC_TLS_CERT": "none.crt", "GRPC_TLS_KEY": "ours.key"}, "none.crt"),
        ({"GRPC_TLS_CERT": "ours.crt", "GRPC_TLS_KEY": "other.key"}, "is not the key of"),
        ({"GRPC_TLS_CERT": "ours.key", "GRPC_TLS_KEY": "ours.key"}, "holds no certificates"),
        ({"GRPC_TLS_CERT": "ours.crt", "GRPC_TLS_KEY": "ours.crt"}, "is not a private key"),
        ({"GRPC_TLS_CERT": "ours.crt"}, "GRPC_TLS_KEY"),
        ({"GRPC_TLS_CLIENT_SANS": "envoy"}, "GRPC_TLS_CLIENT_CA"),
        ({"GRPC_UDS_DIR": "nowhere"}, "its directory does not exist"),
        ({"OIDC_CA_FILE": "nowhere"}, "OIDC_CA_FILE 'nowhere' cannot be read"),
        ({"OIDC_CA_FILE": "ours.key"}, "OIDC_CA_FILE 'ours.key' holds no certificate"),
        ({"GRPC_TLS_CERT": "ours.crt", "GRPC_TLS_KEY": "ours.key", "HTTP_AUTHZ_PORT": "1"}, "without TLS"),
    ],
)
def test_an_unusable_listener_setting_is_one_line(
    tmp_path: Path, ports: ReservedPorts, more: Mapping[str, str], problem: str
) -> None:
    authority = Authority("ca")
    ours, other = authority.issue("ours"), authority.issue("other")
    files = {"ours.crt": ours.chain, "ours.key": ours.key, "other.key": other.key}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    finished = subprocess.run(
        SIDECAR, env=environment(tmp_path, ports, **more), cwd=tmp_path, capture_output=True, check=False
    )
    assert finished.returncode == 2
    said = [line for line in finished.stderr.decode().splitlines() if line.startswith("extauthz: ")]
    assert len(said) == 1
    assert problem in said[0]


def test_files_are_read_again_only_when_they_change(tmp_path: Path) -> None:
    authority = Authority("ca")
    chain, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    first, second = authority.issue("a"), authority.issue("b")
    chain.write_bytes(first.chain)
    key.write_bytes(first.key)
    files = CertificateFiles(chain, key, None)
    assert files.read().certificate_chain == first.chain
    assert files.changed() is None
    replace(chain, second.chain)
    for _ in range(2):
        with pytest.raises(InvalidCertificateError, match="is not the key of"):
            files.changed()
    replace(key, second.key)
    changed = files.changed()
    assert changed is not None
    assert (changed.certificate_chain, changed.private_key) == (second.chain, second.key)
    assert files.changed() is None


def test_a_mounted_secret_is_followed_through_its_link(tmp_path: Path) -> None:
    authority = Authority("ca")
    for name in ("v1", "v2"):
        issued = authority.issue(name)
        (tmp_path / name).mkdir()
        (tmp_path / name / "tls.crt").write_bytes(issued.chain)
        (tmp_path / name / "tls.key").write_bytes(issued.key)
    link = tmp_path / "current"
    link.symlink_to("v1")
    files = CertificateFiles(link / "tls.crt", link / "tls.key", None)
    files.read()
    (tmp_path / "next").symlink_to("v2")
    (tmp_path / "next").rename(link)
    changed = files.changed()
    assert changed is not None
    assert changed.certificate_chain == (tmp_path / "v2" / "tls.crt").read_bytes()
