"""Opens the sender of a target's protocol; what it needs is imported when it is opened."""

from extauthz.settings import OtlpProtocol
from extauthz.telemetry.otlp import OtlpTarget, Sender, tls_context


def open_sender(target: OtlpTarget) -> Sender:
    """Return a sender; nothing is connected before the first `send`.

    Raises:
        OtlpFileError: a certificate or a key cannot be used.
    """
    tls_context(target)
    if target.protocol is OtlpProtocol.GRPC:
        from extauthz.telemetry.otlp_grpc import GrpcSender

        return GrpcSender(target)
    from extauthz.telemetry.otlp_http import HttpSender

    return HttpSender(target)
