"""`extauthz serve` with /admin on its own port and over TLS: a real process, its database, its clients."""

import http.client
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from extauthz.demo.processes import LOOPBACK, ReservedPorts
from tests.certificates import Authority, Certificate
from tests.command_line import run_extauthz
from tests.integration.serving import ADMIN_KEY, database_environment, serving
from tests.tls_clients import trusting
from tests.waiting import await_true

if TYPE_CHECKING:
    from tests.integration.databases import Database

KEY = {"X-Admin-Api-Key": ADMIN_KEY}
NAME = "control-plane.internal"


def write(folder: Path, name: str, issued: Certificate) -> dict[str, Path]:
    files = {"crt": folder / f"{name}.crt", "key": folder / f"{name}.key"}
    files["crt"].write_bytes(issued.chain)
    files["key"].write_bytes(issued.key)
    return files


class Client:
    """A client of one port that trusts one authority, with or without a certificate of its own."""

    def __init__(self, port: int, authority: Authority, own: dict[str, Path] | None = None) -> None:
        self.port = port
        self._context = trusting(authority.pem.decode())
        if own is not None:
            self._context.load_cert_chain(own["crt"], own["key"])

    def ask(self, method: str, path: str, document: object = None) -> tuple[int, Any]:
        """Return the status and the document of an answer; status 0 for none."""
        connection = http.client.HTTPSConnection(LOOPBACK, self.port, timeout=10, context=self._context)
        body = None if document is None else json.dumps(document)
        try:
            connection.request(method, path, body, {**KEY, "Content-Type": "application/json"})
            answer = connection.getresponse()
            received = answer.read()
        except (OSError, http.client.HTTPException):
            return 0, None
        finally:
            connection.close()
        try:
            return answer.status, json.loads(received)
        except ValueError:
            return answer.status, None

    def get(self, path: str) -> int:
        return self.ask("GET", path)[0]


@pytest.mark.both_servers
def test_admin_is_apart_from_the_api_and_both_are_served_over_tls(
    database: "Database", tmp_path: Path
) -> None:
    ours, admins = Authority("ours"), Authority("admins")
    api = write(tmp_path, "api", ours.issue(NAME))
    admin = write(tmp_path, "admin", ours.issue(NAME))
    operator = write(tmp_path, "operator", admins.issue("operator.internal"))
    (tmp_path / "admins.crt").write_bytes(admins.pem)
    ports = ReservedPorts()
    (admin_port,) = ports.take()
    settings: dict[str, Any] = {
        "ADMIN_PORT": str(admin_port),
        "REST_TLS_CERT": str(api["crt"]),
        "REST_TLS_KEY": str(api["key"]),
        "ADMIN_TLS_CERT": str(admin["crt"]),
        "ADMIN_TLS_KEY": str(admin["key"]),
        "ADMIN_TLS_CLIENT_CA": str(tmp_path / "admins.crt"),
    }
    try:
        with serving(tmp_path, database_environment(database.address), **settings) as service:
            rest, unknown = Client(service.rest_port, ours), Client(admin_port, ours)
            known = Client(admin_port, ours, operator)
            service.start(ready=False)
            service.process.wait_ready(lambda: rest.get("/healthz/ready") == 200, timeout_s=30)

            # PORT has the API without /admin, ADMIN_PORT has /admin and health alone.
            assert rest.get("/api/v1/resources") == 200
            assert rest.get("/admin/sidecar-keys") == 404
            assert rest.ask("POST", "/admin/sidecar-keys", {"name": "x"})[0] == 404
            assert known.get("/admin/sidecar-keys") == 200
            assert {known.get(path) for path in ("/api/v1/resources", "/metrics", "/resources/list")} == {404}
            assert known.get("/healthz/ready") == 200
            described = [set(one.ask("GET", "/openapi.json")[1]["paths"]) for one in (rest, known)]
            assert not any(path.startswith("/admin") for path in described[0])
            health = {"/healthz/live", "/healthz/ready"}
            assert "/admin/sidecar-keys" in described[1]
            assert all(path.startswith("/admin/") or path in health for path in described[1])

            # Without a certificate of the administrators only health is answered.
            assert unknown.get("/admin/sidecar-keys") == 403
            assert unknown.get("/healthz/live") == 200

            # Workers of this process report to it all the same.
            await_true(
                lambda: bool((rest.ask("GET", "/api/v1/sidecars")[1] or {}).get("items")),
                within=30,
                what="a report of a worker",
            )
            checked = run_extauthz("health", "--ready", environ=service.environ | {"SIDECAR_PORT": "1"})
            assert checked.returncode == 0, checked.stderr

            # The certificate is replaced by one of another authority, which the next connection sees.
            other = Authority("other")
            renewed = Client(admin_port, other, operator)
            assert renewed.get("/admin/sidecar-keys") == 0
            write(tmp_path, "admin", other.issue(NAME))
            assert renewed.get("/admin/sidecar-keys") == 200
            assert known.get("/admin/sidecar-keys") == 0
            assert rest.get("/api/v1/resources") == 200
            log = (tmp_path / "extauthz.log").read_text()
            assert '"event":"tls_reloaded"' in log
            assert "Traceback" not in log
            assert ADMIN_KEY not in log
    finally:
        ports.release()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ADMIN_PORT": "8080"}, "ADMIN_PORT and PORT are both 8080"),
        ({"ADMIN_PORT": "9190"}, "ADMIN_PORT and SIDECAR_PORT are both 9190"),
        ({"ADMIN_PORT": "9192", "WORKERS": "2"}, "ADMIN_PORT 9192 is a port of GRPC_PORT"),
        (
            {"ADMIN_TLS_CERT": "/a", "ADMIN_TLS_KEY": "/b"},
            "ADMIN_TLS_CERT is for ADMIN_PORT, which is not set",
        ),
        ({"REST_TLS_CERT": "/a"}, "REST_TLS_CERT and REST_TLS_KEY go together"),
    ],
)
def test_settings_that_contradict_each_other_end_the_start(settings: dict[str, str], said: str) -> None:
    finished = run_extauthz("control-plane", environ={"OIDC_ENABLED": "false", **settings})

    assert finished.returncode == 2
    assert said in finished.stderr
    assert "Traceback" not in finished.stderr


def test_a_certificate_that_cannot_be_used_ends_the_start(tmp_path: Path) -> None:
    files = write(tmp_path, "api", Authority("ours").issue(NAME))
    files["key"].write_bytes(Authority("other").issue(NAME).key)

    finished = run_extauthz("control-plane", environ={
        "OIDC_ENABLED": "false", "PORT": "0",
        "REST_TLS_CERT": str(files["crt"]), "REST_TLS_KEY": str(files["key"]),
    })  # fmt: skip

    assert finished.returncode != 0
    assert "is not the key of the first certificate" in finished.stderr
    assert "Traceback" not in finished.stderr
