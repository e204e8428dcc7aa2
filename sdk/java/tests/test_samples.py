"""The samples for Spring Boot and Quarkus behind real Envoy: the mesh enforces what their code declares.

`make test-java` builds the samples, starts `extauthz demo`, names its ready file in `EXTAUTHZ_DEMO` and runs
this; `make test`, which needs no JDK, does not. The demo's own Envoy forwards to the demo's upstream, so each
sample has an Envoy of its own that asks the same extauthz.
"""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from extauthz.demo import envoy
from extauthz.demo.processes import LOOPBACK, Child, ReservedPorts, http_answers, spawn
from extauthz.demo.rest import RestApi

SAMPLES: Final = Path(__file__).parents[1] / "samples"
START_S: Final = 60.0
STOP_S: Final = 20.0
IN_EFFECT_S: Final = 10.0


class Demo:
    """The running demo, by its ready file."""

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self.rest_url = str(facts["rest_url"])
        self.rest = RestApi(int(self.rest_url.rpartition(":")[2]), facts["admin_api_key"])
        self.grpc_port = int(facts["grpc_target"].rpartition(":")[2])
        self.tokens: Mapping[str, str] = facts["tokens"]
        self.client_credentials = {
            "AUTH_SERVER_URL": facts["issuer"],
            "ADMIN_CLIENT_ID": facts["admin_client_id"],
            "ADMIN_CLIENT_SECRET": facts["admin_client_secret"],
        }


@dataclass(frozen=True)
class Sample:
    """A sample: its archive, the variable of its port, and how it gets its credential."""

    name: str
    archive: str
    port_variable: str
    credential: Callable[["Demo", str], dict[str, str]]

    @property
    def service(self) -> str:
        return f"{self.name}-sample"


def service_key(demo: Demo, service: str) -> dict[str, str]:
    """Return a new service key that can do nothing but register this service below its path."""
    reply = demo.rest.create(
        "/api/v1/service-api-keys",
        {
            "name": service,
            "scopes": ["resources:write"],
            "service_name": service,
            "prefixes": [f"{service}.example/orders"],
        },
    )
    return {"EXTAUTHZ_SERVICE_API_KEY": reply.document["key"]}


def client_credentials(demo: Demo, _: str) -> dict[str, str]:
    """Return the demo's client of the identity provider."""
    return demo.client_credentials


SPRING = Sample("spring", "target/extauthz-sample-spring-0.2.0.jar", "SERVER_PORT", service_key)
QUARKUS = Sample("quarkus", "target/quarkus-app/quarkus-run.jar", "QUARKUS_HTTP_PORT", client_credentials)


@dataclass(frozen=True)
class Service:
    """A running sample, the Envoy before it, and the demo that both belong to."""

    sample: Sample
    demo: Demo
    process: Child
    port: int
    envoy_port: int
    secrets: tuple[str, ...]

    def ask(
        self, method: str, path: str, person: str | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """Return status and document of a request through Envoy."""
        credential = {} if person is None else {"authorization": f"Bearer {self.demo.tokens[person]}"}
        return self._send(self.envoy_port, method, path, credential | dict(headers or {}))

    def ask_directly(self, path: str) -> tuple[int, Any]:
        """Return status and document of a request that does not pass the mesh."""
        return self._send(self.port, "GET", path, {})

    def becomes(self, status: int, method: str, path: str, person: str) -> bool:
        """Tell whether an answer has this status in the end."""
        deadline = time.monotonic() + IN_EFFECT_S
        while self.ask(method, path, person)[0] != status:
            if time.monotonic() > deadline:
                return False
        return True

    def _send(self, port: int, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(LOOPBACK, port, timeout=10)
        try:
            connection.request(
                method, path, headers={"host": f"{self.sample.service}.example"} | dict(headers)
            )
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException):
            return 0, None
        finally:
            connection.close()
        try:
            return response.status, json.loads(body)
        except ValueError:
            return response.status, None


def jdk(command: str) -> str:
    """Return a command of the JDK that `JAVA_HOME` or `PATH` names."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which(command, path=f"{home}/bin") if home else shutil.which(command)
    if found is None:
        pytest.fail(f"the JDK's {command!r} is not found; set JAVA_HOME")
    return found


@pytest.fixture(scope="module")
def demo() -> Demo:
    facts = os.environ.get("EXTAUTHZ_DEMO")
    if facts is None:
        pytest.fail("EXTAUTHZ_DEMO does not name the ready file of a demo; run `make test-java`")
    return Demo(json.loads(Path(facts).read_text("utf-8")))


@pytest.fixture(
    scope="module",
    params=[each for each in (SPRING, QUARKUS) if (SAMPLES / each.name).is_dir()],
    ids=lambda sample: sample.name,
)
def service(
    request: pytest.FixtureRequest, demo: Demo, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    sample: Sample = request.param
    archive = SAMPLES / sample.name / sample.archive
    if not archive.exists():
        pytest.fail(f"{archive} is missing; `make test-java` builds it")
    folder = tmp_path_factory.mktemp(sample.name)
    ports = ReservedPorts()
    port, envoy_port = ports.take()[0], ports.take()[0]
    configuration = folder / "envoy.yaml"
    configuration.write_text(
        envoy.bootstrap(listener=envoy_port, extauthz=[demo.grpc_port], upstream=port), "utf-8"
    )
    credential = sample.credential(demo, sample.service)
    process = spawn(
        sample.name,
        [jdk("java"), "-XX:TieredStopAtLevel=1", "-Xmx256m", "-jar", archive],
        output=folder / "service.log",
        environment={
            "PATH": os.environ["PATH"],
            "EXTAUTHZ_URL": demo.rest_url,
            "EXTAUTHZ_HOST": f"{sample.service}.example",
            sample.port_variable: str(port),
        }
        | credential,
    )
    proxy = spawn("envoy", envoy.command(configuration), output=folder / "envoy.log")
    try:
        process.wait_ready(lambda: http_answers(port, "/internal"), timeout_s=START_S)
        secrets = tuple(value for name, value in credential.items() if name.endswith(("_KEY", "_SECRET")))
        running = Service(sample, demo, process, port, envoy_port, secrets)
        process.wait_ready(lambda: running.ask("GET", "/orders/7", "alice")[0] == 200, timeout_s=START_S)
        yield running
    finally:
        proxy.stop(grace_s=1.0)
        process.stop()
        ports.release()


def test_a_granted_role_is_allowed_and_the_service_sees_the_caller(service: Service) -> None:
    status, order = service.ask("GET", "/orders/7", "alice")

    assert status == 200
    assert order["number"] == "7"
    assert (order["subject"], order["kind"], order["tenant"]) == ("alice", "user", "default")
    assert "finance" in order["roles"]


def test_other_callers_are_denied(service: Service) -> None:
    status, denial = service.ask("GET", "/orders/7", "bob")
    assert (status, denial["reason"]) == (403, "no_matching_rule")

    status, denial = service.ask("GET", "/orders/7")
    assert (status, denial["reason"]) == (401, "token_missing")


def test_identity_headers_of_a_client_do_not_reach_the_service(service: Service) -> None:
    forged = {"x-auth-subject": "root", "x-auth-kind": "service", "x-auth-roles": "admin"}

    status, order = service.ask("GET", "/orders/7", "alice", forged)

    assert status == 200
    assert (order["subject"], order["kind"]) == ("alice", "user")
    assert "admin" not in order["roles"]


def test_an_undeclared_endpoint_is_denied_by_the_mesh_alone(service: Service) -> None:
    assert service.ask_directly("/internal")[0] == 200

    status, denial = service.ask("GET", "/internal", "alice")

    assert (status, denial["reason"]) == (403, "unmapped_route")


def test_a_rule_changes_the_answer_of_the_running_service(service: Service) -> None:
    assert service.ask("DELETE", "/orders/7", "alice")[0] == 403

    rule = service.demo.rest.create(
        "/api/v1/resources/policies",
        {
            "sub": "finance",
            "dom": "*",
            "obj": f"{service.sample.service}-order:delete",
            "act": "delete",
            "effect": "allow",
        },
    )
    assert service.becomes(200, "DELETE", "/orders/7", "alice")
    assert service.ask("DELETE", "/orders/7", "bob")[0] == 403

    assert service.demo.rest.ask("DELETE", f"/api/v1/resources/policies/{rule.id}").status == 204
    assert service.becomes(403, "DELETE", "/orders/7", "alice")


def test_the_service_ends_when_it_is_asked_to(service: Service) -> None:
    """The last test of a sample: no thread of the SDK keeps the process alive, and no secret is logged."""
    printed = subprocess.run(
        [jdk("jcmd"), str(service.process.pid), "Thread.print"], capture_output=True, text=True, check=True
    ).stdout
    own = re.findall(r'^"(?:extauthz|HttpClient)[^"]*".*$', printed, re.MULTILINE)
    assert [thread for thread in own if " daemon " not in thread] == []

    service.process.send(signal.SIGTERM)
    deadline = time.monotonic() + STOP_S
    while service.process.running:
        assert time.monotonic() < deadline, f"it did not end:\n{service.process.last_lines()}"
        time.sleep(0.05)

    log = service.process.output.read_text("utf-8", "replace")
    assert "Exception" not in log
    for secret in service.secrets:
        assert secret not in log
