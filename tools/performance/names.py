"""What the keys of the results are called on the page."""

from typing import Final, NamedTuple


class ServerName(NamedTuple):
    """A measured server: its label, and whether it is ours, a peer, or empty."""

    label: str
    kind: str


SERVERS: Final = {
    "native": ServerName("extauthz, native", "ours"),
    "grpcio": ServerName("extauthz, grpcio", "ours"),
    "go_peer": ServerName("lean Go server", "peer"),
    "native_empty": ServerName("empty, our native front", "empty"),
    "grpcio_empty": ServerName("empty, grpcio, 4 threads", "empty"),
    "go_empty": ServerName("empty, grpc-go", "empty"),
}

PARTS: Final = (
    ("wire_read_us", "read the request"),
    ("wire_read_raw_headers_us", "read it, raw headers"),
    ("identify_cached_us", "identify, token known"),
    ("route_us", "find the route"),
    ("decide_us", "decide"),
    ("judge_us", "judge as a whole"),
    ("wire_write_us", "write the answer"),
    ("log_line_us", "render the log line"),
    ("check_with_log_line_us", "whole check with its log line"),
    ("check_raw_headers_with_log_line_us", "whole check, raw headers"),
    ("identify_first_seen_us", "identify, token first seen"),
    ("check_first_seen_us", "whole check, token first seen"),
)
