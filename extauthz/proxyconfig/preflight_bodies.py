"""Examines whether checks of OPTIONS show a body, which a CORS preflight must not have.

Input: documents of a service with `CORS_PREFLIGHT=policy`. Output: findings. Nothing in a check over gRPC
tells of a body without Content-Length, unless the check includes the beginning of the body.
"""

from collections.abc import Iterator, Sequence

from extauthz.proxyconfig import advice
from extauthz.proxyconfig.documents import YamlValue
from extauthz.proxyconfig.findings import Finding
from extauthz.proxyconfig.messages import CHECK, CHECK_PER_ROUTE, messages


def examine_preflight_bodies(documents: Sequence[YamlValue]) -> Iterator[Finding]:
    """Yield a warning for each check over gRPC in a document where no check shows a body."""
    for document in documents:
        found = list(messages(document))
        settings = [
            message.body if message.kind == CHECK else message.body.given("check_settings")
            for message in found
            if message.kind in {CHECK, CHECK_PER_ROUTE}
        ]
        if any(one is not None and one.given("with_request_body") is not None for one in settings):
            continue
        for message in found:
            if message.kind == CHECK and message.body.given("grpc_service") is not None:
                yield advice.warning(
                    message.body,
                    "preflight-body",
                    "with CORS_PREFLIGHT=policy an OPTIONS request with a body of unknown length passes as a "
                    "preflight: no check includes the body",
                    "take the route for OPTIONS over that extauthz envoy-config prints",
                )
