"""Envoy's ext_authz messages, both ways: bytes to facts, outcome to bytes.

`read` and `write` are all that a gRPC transport needs to know of protobuf; `internal_error` is the answer
for when even they are out of reach. `write` is the only place that can say OK.
"""

from extauthz.check.request_bytes import read, read_attributes
from extauthz.check.response_bytes import internal_error, says_ok, write

__all__ = ["internal_error", "read", "read_attributes", "says_ok", "write"]
