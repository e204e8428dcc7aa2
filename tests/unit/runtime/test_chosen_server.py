"""`GRPC_SERVER`: the server that the workers run, the reason, and refused values."""

import subprocess
import sys
from collections.abc import Mapping

import pytest

from extauthz.runtime.chosen_server import chosen_server
from extauthz.settings import GrpcServer, Settings, load_settings

ALONE = {"OIDC_ENABLED": "false", "POLICY_SOURCE": "files:/policies"}
TLS = {"GRPC_TLS_CERT": "/c", "GRPC_TLS_KEY": "/k"}
UNIX = {"GRPC_UDS_DIR": "/run/extauthz"}

LOCAL = [
    {},
    {"GRPC_HOST": "127.0.0.1"},
    {"GRPC_HOST": "127.8.8.8"},
    {"GRPC_HOST": "localhost"},
    {"GRPC_HOST": "::1"},
    UNIX,
    UNIX | {"GRPC_HOST": "0.0.0.0"},
]
REACHABLE = [
    {"GRPC_HOST": "0.0.0.0"},
    {"GRPC_HOST": "::"},
    {"GRPC_HOST": "10.1.2.3"},
    {"GRPC_HOST": "extauthz.example"},
]


def load(environ: Mapping[str, str]) -> Settings | list[str]:
    return load_settings({**ALONE, **environ})


def chosen(environ: Mapping[str, str]) -> tuple[GrpcServer, str]:
    settings = load(environ)
    assert isinstance(settings, Settings), settings
    found = chosen_server(settings)
    return found.server, found.reason


def without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pygrpc_native", None)


@pytest.mark.parametrize("environ", LOCAL)
@pytest.mark.parametrize("server", [{}, {"GRPC_SERVER": "auto"}, {"GRPC_SERVER": "native"}])
def test_only_loopback_addresses_are_served_natively(
    environ: Mapping[str, str], server: Mapping[str, str]
) -> None:
    assert chosen({**environ, **server})[0] is GrpcServer.NATIVE


@pytest.mark.parametrize("environ", REACHABLE)
def test_an_address_that_others_can_reach_is_served_by_grpcio(environ: Mapping[str, str]) -> None:
    server, reason = chosen(environ)
    assert server is GrpcServer.GRPCIO
    assert environ["GRPC_HOST"] in reason


@pytest.mark.parametrize("environ", [{}, UNIX, {"GRPC_HOST": "0.0.0.0"}])
def test_grpcio_is_chosen_where_grpc_has_tls(environ: Mapping[str, str]) -> None:
    assert chosen({**environ, **TLS}) == (GrpcServer.GRPCIO, "GRPC_TLS_CERT is set")


@pytest.mark.parametrize("environ", [*LOCAL, *REACHABLE, TLS])
def test_grpcio_is_chosen_wherever_it_is_asked_for(environ: Mapping[str, str]) -> None:
    assert chosen({**environ, "GRPC_SERVER": "grpcio"}) == (GrpcServer.GRPCIO, "GRPC_SERVER=grpcio")


@pytest.mark.parametrize("environ", REACHABLE)
def test_native_is_refused_where_others_can_reach_it(environ: Mapping[str, str]) -> None:
    problems = load({**environ, "GRPC_SERVER": "native"})
    assert isinstance(problems, list)
    (problem,) = problems
    assert repr(environ["GRPC_HOST"]) in problem
    assert "GRPC_SERVER=grpcio" in problem


def test_native_is_refused_with_tls_and_every_problem_is_named() -> None:
    problems = load({"GRPC_HOST": "0.0.0.0", "GRPC_SERVER": "native", "WORKERS": "2", **TLS})
    assert isinstance(problems, list)
    assert ["GRPC_TLS_CERT" in problem for problem in problems] == [True, False]
    assert "GRPC_HOST" in problems[1]


@pytest.mark.parametrize("value", [" ", "rust", "native,grpcio", "grpc"])
def test_an_unknown_grpc_server_is_refused(value: str) -> None:
    problems = load({"GRPC_SERVER": value})
    assert isinstance(problems, list)
    assert "GRPC_SERVER" in problems[0]


def test_grpcio_is_chosen_without_the_native_package(monkeypatch: pytest.MonkeyPatch) -> None:
    without_the_package(monkeypatch)
    assert chosen({}) == (GrpcServer.GRPCIO, "the package pygrpc-native is not installed")


def test_native_without_its_package_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    without_the_package(monkeypatch)
    problems = load({"GRPC_SERVER": "native"})
    assert isinstance(problems, list)
    (problem,) = problems
    assert "extauthz[native]" in problem


def test_native_without_its_package_is_one_line_and_exit_2() -> None:
    program = "import sys; sys.modules['pygrpc_native'] = None; from extauthz.cli import main; main()"
    finished = subprocess.run(
        [sys.executable, "-c", program, "sidecar"],
        env=ALONE | {"GRPC_SERVER": "native"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 2
    assert len(finished.stderr.splitlines()) == 1, finished.stderr
    assert "extauthz[native]" in finished.stderr
