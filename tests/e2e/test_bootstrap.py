"""The shipped Envoy configuration: Envoy accepts it unchanged, and it has every safe setting."""

import subprocess

import yaml

from extauthz.demo import envoy
from extauthz.shipped import shipped

BOOTSTRAP = shipped("envoy/bootstrap.yaml")


def connection_manager() -> dict[str, object]:
    document = yaml.safe_load(BOOTSTRAP.read_text())
    (listener,) = document["static_resources"]["listeners"]
    manager: dict[str, object] = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return manager


def test_envoy_accepts_it_as_it_is() -> None:
    finished = subprocess.run(
        [envoy.binary(), "--mode", "validate", "-c", BOOTSTRAP, "--disable-hot-restart"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.returncode == 0, finished.stderr
    assert "warning" not in finished.stderr


def test_paths_and_headers_have_one_reading() -> None:
    manager = connection_manager()

    assert manager["normalize_path"] is True
    assert manager["merge_slashes"] is True
    assert manager["path_with_escaped_slashes_action"] == "REJECT_REQUEST"
    options = manager["common_http_protocol_options"]
    assert isinstance(options, dict)
    assert options["headers_with_underscores_action"] == "REJECT_REQUEST"


def test_client_input_is_bounded() -> None:
    manager = connection_manager()
    options, streams = manager["common_http_protocol_options"], manager["http2_protocol_options"]
    assert isinstance(options, dict)
    assert isinstance(streams, dict)

    assert manager["max_request_headers_kb"] == 60
    assert options["max_headers_count"] == 100
    assert streams == {
        "max_concurrent_streams": 100,
        "initial_stream_window_size": 64 * 1024,
        "initial_connection_window_size": 1024 * 1024,
    }
    (shipped_layer, _) = yaml.safe_load(BOOTSTRAP.read_text())["layered_runtime"]["layers"]
    assert shipped_layer["static_layer"] == {"http.max_requests_per_io_cycle": 1}


def test_identity_headers_are_removed_before_the_check_and_the_check_fails_closed() -> None:
    filters = connection_manager()["http_filters"]
    assert isinstance(filters, list)

    assert [part["name"].rpartition(".")[2] for part in filters] == [
        "cors",
        "header_mutation",
        "ext_authz",
        "router",
    ]
    check = filters[2]["typed_config"]
    assert check["failure_mode_allow"] is False
    assert check["grpc_service"]["timeout"] == "0.2s"
    assert check["status_on_error"] == {"code": "ServiceUnavailable"}


def test_every_listener_is_on_loopback() -> None:
    document = yaml.safe_load(BOOTSTRAP.read_text())

    assert "admin" not in document
    (listener,) = document["static_resources"]["listeners"]
    assert listener["address"]["socket_address"]["address"] == "127.0.0.1"
