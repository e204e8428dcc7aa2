"""OTLP over gRPC (opentelemetry.io/docs/specs/otlp, OTLP/gRPC): one channel, kept between requests."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path
from typing import Final

import grpc

from extauthz.telemetry.otlp import (
    MAX_ANSWER_BYTES,
    USER_AGENT,
    NotSent,
    OtlpTarget,
    Sent,
    shortened,
    taken,
)

_RETRYABLE: Final = frozenset(
    {
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DATA_LOSS,
    }
)


class GrpcSender:
    """A sender; after a failure its channel is made anew, with the certificates as they are then."""

    def __init__(self, target: OtlpTarget) -> None:
        """Take the target; nothing is opened yet."""
        self._target = target
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._closed = False

    def send(self, request: bytes, within_s: float) -> Sent | NotSent:
        """Call `Export` with the octets of a request. Never raises."""
        try:
            channel = self._opened()
            if channel is None:
                return NotSent("the process ends", again=False)
            export = channel.unary_unary(
                self._target.signal.method, request_serializer=None, response_deserializer=None
            )
            answer: bytes = export(
                request,
                timeout=within_s,
                metadata=self._target.headers,
                compression=grpc.Compression.Gzip if self._target.gzip else None,
            )
        except grpc.RpcError as error:
            self._drop()
            code = error.code()
            if code is grpc.StatusCode.DEADLINE_EXCEEDED:
                return NotSent(f"no complete answer within {within_s:.3g} s", again=True)
            return NotSent(
                f"the collector answered {code.name}: {shortened(error.details() or '', self._target)}",
                again=code in _RETRYABLE,
            )
        except OSError as error:
            return NotSent(f"{error.filename}: {error.strerror or error}", again=True)
        except Exception as error:  # noqa: BLE001  # a fault here must not end the thread that exports
            # A channel that `close` has closed meanwhile raises ValueError.
            self._drop()
            return NotSent(
                f"{type(error).__name__}: {shortened(str(error), self._target)}", again=not self._closed
            )
        try:
            return taken(self._target, answer)
        except ValueError:
            # The status is that of Export: it was taken.
            return Sent()

    def close(self) -> None:
        """End a call that is under way; thread-safe."""
        self._closed = True
        self._drop()

    def _opened(self) -> grpc.Channel | None:
        with self._lock:
            if self._closed:
                return None
            if self._channel is None:
                self._channel = _channel(self._target)
            return self._channel

    def _drop(self) -> None:
        with self._lock:
            channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()


def _channel(target: OtlpTarget) -> grpc.Channel:
    options = [
        ("grpc.primary_user_agent", USER_AGENT),
        ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
        ("grpc.enable_retries", 0),
        # As over HTTP: no proxy of the environment.
        ("grpc.enable_http_proxy", 0),
    ]
    if not target.is_encrypted:
        return grpc.insecure_channel(target.address, options=options)
    credentials = grpc.ssl_channel_credentials(
        root_certificates=_roots(target.ca_file),
        private_key=_read(target.client_key),
        certificate_chain=_read(target.client_certificate),
    )
    return grpc.secure_channel(target.address, credentials, options=options)


def _roots(ca_file: Path | None) -> bytes | None:
    """Return the CAs in PEM; gRPC would take those of its own distribution in place of the system's."""
    if ca_file is not None:
        return ca_file.read_bytes()
    system: str | None = ssl.get_default_verify_paths().cafile  # typeshed leaves out None
    return None if system is None else Path(system).read_bytes()


def _read(file: Path | None) -> bytes | None:
    return None if file is None else file.read_bytes()
