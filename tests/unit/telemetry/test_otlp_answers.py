"""What the answer of a collector over HTTP confirms, and what of it is said."""

import socketserver
import threading

import pytest

from extauthz.settings import OtlpProtocol
from extauthz.telemetry.otlp import MAX_ANSWER_BYTES, NotSent, OtlpTarget, Sent, Signal, shortened
from extauthz.telemetry.otlp_senders import open_sender
from tests.otlp_collector import Collector, http_collector

PROTOBUF = "application/x-protobuf"
JSON = "application/json"


def sent(port: int, signal: Signal = Signal.LOGS) -> Sent | NotSent:
    url = f"http://127.0.0.1:{port}/v1/{signal.value}"
    return open_sender(OtlpTarget(url, signal, OtlpProtocol.HTTP)).send(b"", 10)


@pytest.mark.parametrize(
    ("content_type", "body", "rejected"),
    [
        (PROTOBUF, b"", 0),
        ("text/html", b"", 0),
        (JSON, b"{}", 0),
        (JSON, b'{"partialSuccess":{"rejectedLogRecords":"7","errorMessage":"too old"}}', 7),
        (JSON, b'{"partialSuccess":{"rejectedLogRecords":7},"more":[1]}', 7),
        (PROTOBUF, b"\x0a\x02\x08\x07", 7),
        (PROTOBUF, b"\x0a\x0b\x08" + b"\xff" * 9 + b"\x01", 0),
    ],
)
def test_an_answer_of_a_collector_confirms(content_type: str, body: bytes, rejected: int) -> None:
    with http_collector(Collector(body=body, content_type=content_type)) as collector:
        found = sent(collector.port)
    assert isinstance(found, Sent), found
    assert found.rejected == rejected


@pytest.mark.parametrize("signal", Signal)
@pytest.mark.parametrize(
    ("content_type", "body", "said"),
    [
        ("text/html; charset=utf-8", b"<html>sign in</html>", "of type text/html"),
        ("text/plain", b"ok", "of type text/plain"),
        (PROTOBUF, b"\xff\xff", "none of OTLP"),
        ("application/octet-stream", b"<html>", "none of OTLP"),
        (JSON, b"[", "none of OTLP"),
        (JSON, b"\xff", "none of OTLP"),
        (JSON, b"[" * 50_000, "none of OTLP"),
        (PROTOBUF, b"\0" * (MAX_ANSWER_BYTES + 1), "of more than"),
    ],
)
def test_the_page_of_another_server_confirms_nothing(
    content_type: str, body: bytes, said: str, signal: Signal
) -> None:
    with http_collector(Collector(body=body, content_type=content_type)) as collector:
        found = sent(collector.port, signal)
    assert isinstance(found, NotSent), found
    assert found.again
    assert said in found.cause


def test_a_server_that_speaks_no_http_is_said_to_be_one() -> None:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.request.sendall(b"SSH-2.0-OpenSSH\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        found = sent(server.server_address[1])
        server.shutdown()
        thread.join()
    assert found == NotSent("the answer is not HTTP", again=True)


@pytest.mark.parametrize("quoted", ["Bearer s3cret-of-ours", "s3cret-of-ours"])
def test_a_header_that_the_collector_quotes_is_left_out(quoted: str) -> None:
    headers = (("authorization", "Bearer s3cret-of-ours"), ("x-empty", ""))
    target = OtlpTarget("http://127.0.0.1", Signal.LOGS, OtlpProtocol.GRPC, headers)
    assert shortened(f"refused: {quoted}\nplease", target) == r"refused: [header]\nplease"
