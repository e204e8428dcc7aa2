"""Application logs: one form for everything, and no credential in it."""

import contextlib
import io
import json
import logging
import os
from collections.abc import Iterator

import pytest
import structlog

from extauthz.telemetry.logs import configure
from extauthz.telemetry.redaction import redact_text
from extauthz.telemetry.seldom import LOG_EVERY_S, Seldom
from tests.command_line import logging_as_before

PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc\n-----END RSA PRIVATE KEY-----"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    with logging_as_before():
        yield io.StringIO()
    logging.captureWarnings(capture=False)


def events(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_log_lines_of_libraries_have_the_same_form(stream: io.StringIO) -> None:
    configure("info", "json", stream=stream)
    structlog.get_logger().bind(logger="extauthz.keys").warning("keys_not_fetched", issuer="https://idp")
    structlog.get_logger().debug("not shown")
    logging.getLogger("grpc").warning("hello %s", "there", extra={"attempt": 3})
    ours, theirs = events(stream)
    assert ours["event"] == "keys_not_fetched"
    assert (ours["level"], ours["logger"], ours["issuer"]) == ("warning", "extauthz.keys", "https://idp")
    assert str(ours["ts"]).endswith("Z")
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("hello there", "warning", "grpc")
    assert theirs["attempt"] == 3


def test_an_exception_is_one_line_without_the_secrets_in_its_message(stream: io.StringIO) -> None:
    configure("INFO", "json", stream=stream)
    try:
        raise ValueError("cannot use sak_live_abcdef for Bearer abc.def.ghi")
    except ValueError:
        structlog.get_logger().exception("failed")
        logging.getLogger("library").exception("failed")
    for event in events(stream):
        assert "ValueError" in str(event["exception"])
        assert "sak_live" not in str(event)
        assert "abc.def" not in str(event)


def test_the_console_form_is_readable_and_redacted_too(stream: io.StringIO) -> None:
    configure("INFO", "console", stream=stream)
    structlog.get_logger().info("started", dsn="postgres://x", note="sak_live_abc", port=9190)
    text = stream.getvalue()
    assert "started" in text
    assert "9190" in text
    assert "sak_live_abc" not in text
    assert "postgres://x" not in text


def test_values_that_json_cannot_hold_still_make_a_line(stream: io.StringIO) -> None:
    configure("INFO", "json", stream=stream)
    structlog.get_logger().info("odd \udcff", big=2**80, thing=object(), keys={1: {2, 3}})
    assert len(events(stream)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "Authorization: Bearer s3cret-s3cret",
        "bearer   s3cret.s3cret.s3cret",
        "token eyJhbGciOiJSUzI1NiJ9.s3cret.s3cret was refused",
        "Basic czNjcmV0s3cret==",
        "key sak_live_s3cret refused",
        f"session eas_{'0' * 32}_1800000000_s3cret has ended",
        PEM.replace("abc", "s3cret"),
        "-----BEGIN EC PRIVATE KEY-----\ns3cret",
        "postgres://extauthz:s3cret@db:5432/extauthz",
        "password=s3cret host=db",
        '{"password": "s3cret"}',
        "client_secret=s3cret&grant_type=client_credentials",
        "api_key: s3cret",
        "?access_token=s3cret",
    ],
)
def test_credentials_are_taken_out_of_text(text: str) -> None:
    assert "s3cret" not in redact_text(text)
    assert "[redacted]" in redact_text(text)


@pytest.mark.parametrize(
    "text",
    [
        "reason token_expired for issuer https://idp.example/realms/a",
        "listening on 127.0.0.1:9190",
        "policies/demo/10-roles.yaml: /role_rules/3/act: expected a string, found 7",
        "password file not readable: /run/secrets/db",
    ],
)
def test_ordinary_text_is_not_changed(text: str) -> None:
    assert redact_text(text) == text


@pytest.mark.parametrize(
    "name",
    [
        "password",
        "POSTGRES_PASSWORD",
        "admin_api_key",
        "x-service-api-key",
        "authorization",
        "cookie",
        "token",
        "dsn",
    ],
)
def test_fields_that_are_secret_by_name_are_redacted_at_any_depth(stream: io.StringIO, name: str) -> None:
    configure("INFO", "json", stream=stream)
    structlog.get_logger().info("event", nested=[{name: "s3cret"}], **{name: "s3cret"})
    assert "s3cret" not in stream.getvalue()


def test_fields_that_only_sound_secret_are_kept(stream: io.StringIO) -> None:
    configure("INFO", "json", stream=stream)
    structlog.get_logger().info(
        "event", reason="token_missing", api_key_id="k1", token_url="https://idp/token"
    )
    [event] = events(stream)
    assert (event["reason"], event["api_key_id"], event["token_url"]) == (
        "token_missing",
        "k1",
        "https://idp/token",
    )


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_line_that_cannot_be_written_raises_no_error_in_the_code_that_logs(
    log_format: str, stream: io.StringIO
) -> None:
    del stream
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        configure("info", log_format, stream=full)
        for _ in range(1_000):
            structlog.get_logger().error("disk_full", detail="x" * 100)
            logging.getLogger("library").error("disk full")
        with contextlib.suppress(OSError):
            full.flush()
        # What is buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


def test_connections_that_cannot_be_accepted_are_logged_once_in_a_while(stream: io.StringIO) -> None:
    configure("INFO", "json", stream=stream)
    for _ in range(3):
        logging.getLogger("pygrpc_native.server").warning("gRPC accept failed: Too many open files")
        logging.getLogger("asyncio").error("socket.accept() out of system resource\nsocket: 5")
        logging.getLogger("asyncio").error("another")
    assert [str(event["event"]).split("\n")[0] for event in events(stream)] == [
        "gRPC accept failed: Too many open files",
        "socket.accept() out of system resource",
        "another",
        "another",
        "another",
    ]


def test_an_event_that_was_logged_long_ago_is_logged_again() -> None:
    now = [0.0]
    seldom = Seldom(steady=lambda: now[0])
    assert [seldom.is_due("accept_failed"), seldom.is_due("accept_failed")] == [True, False]
    now[0] = LOG_EVERY_S
    assert [seldom.is_due("accept_failed"), seldom.is_due("accept_failed")] == [True, False]
