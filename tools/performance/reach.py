"""The targets of the request path, and what the results say of each."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from tools.performance.results import Results, figure

Value = Callable[[Results, str], float | None]


class Target(NamedTuple):
    """One target: what is measured, how far it has to reach, and where the value is.

    `value` gets the results and the build of the interpreter.
    """

    what: str
    limit: float | Mapping[str, float]
    unit: str
    value: Value
    at_least: bool = False
    result: str | None = None
    """The result that has it; None: those of the request path, one for each build of the interpreter."""


def _of_requests(above: Sequence[str], below: Sequence[str]) -> Value:
    return lambda results, build: results.ratio(f"requests-{build}", above, below)


def _of_policies(path: tuple[str, ...], results: Results, _build: str) -> float | None:
    return results.number("policies", *path)


def _of_client(path: tuple[str, ...], results: Results, _build: str) -> float | None:
    return results.number("client", *path)


def _worst_of_authzen(ratio: str, results: Results, _build: str) -> float | None:
    found = [results.number("authzen", "callers", caller, ratio) for caller in ("admin_key", "service_key")]
    return max((each for each in found if each is not None), default=None)


def _of_reload(setting: str, path: Sequence[str], results: Results, _build: str) -> float | None:
    return results.number("reload", setting, *path)


def _of_check(key: str) -> Value:
    return lambda results, build: results.number(f"check-{build}", key)


def _of_bodies(key: str) -> Value:
    return lambda results, build: results.number(f"bodies-{build}", key)


TARGETS: Final = (
    Target(
        "check with its log line, in the process, token known",
        {"optimised": 18.0, "unoptimised": 22.0},
        "us",
        _of_check("check_with_log_line_us"),
    ),
    Target("first-seen RS256 token, in the process", 100.0, "us", _of_check("identify_first_seen_us")),
    Target(
        "first-seen RS256 token, on the wire, CPU to the Go server's",
        1.5,
        "times",
        _of_requests(
            ("4x1_first_seen_tokens", "native", "cpu_us"), ("4x1_first_seen_tokens", "go_peer", "cpu_us")
        ),
    ),
    Target(
        "native server, CPU a request to the Go server's with a token cache",
        1.0,
        "times",
        _of_requests(("4x1", "native", "cpu_us"), ("4x1", "go_peer", "cpu_us")),
    ),
    Target(
        "the same, the goal beyond it",
        0.75,
        "times",
        _of_requests(("4x1", "native", "cpu_us"), ("4x1", "go_peer", "cpu_us")),
    ),
    Target(
        "native server, requests a second to OPA-Envoy's with its decision log",
        15.0,
        "times",
        _of_requests(("4x1", "native", "requests_per_s"), ("4x1", "opa", "requests_per_s")),
        at_least=True,
    ),
    Target(
        "native server, 8 connections with 16 calls each, CPU to the empty grpcio server's",
        0.33,
        "times",
        _of_requests(("8x16", "native", "cpu_us"), ("8x16", "grpcio_empty", "cpu_us")),
    ),
    Target(
        "grpcio server, whole, CPU to the empty grpcio server's",
        1.5,
        "times",
        _of_requests(("4x1", "grpcio", "cpu_us"), ("4x1", "grpcio_empty", "cpu_us")),
    ),
    Target(
        "native server, p99 of 4 connections with one call each, to the Go server's",
        1.0,
        "times",
        _of_requests(("4x1", "native", "p99_us"), ("4x1", "go_peer", "p99_us")),
    ),
    Target(
        "native server through Envoy, p99 to that of an empty authorizer on the same front",
        1.5,
        "times",
        _of_requests(
            ("through_envoy_4x1", "native", "p99_us"), ("through_envoy_4x1", "native_empty", "p99_us")
        ),
    ),
    Target(
        "cold start to ready, 10,000 role rules",
        1.5,
        "s",
        lambda results, build: results.number(f"start-{build}", "ready_s"),
    ),
    *(
        Target(what, limit, unit, _of_bodies(key))
        for what, limit, unit, key in (
            ("check without a body, bodies on to off", 1.0, "times", "without_body_to_bodies_off"),
            (
                "check with a body of 4 KiB that no rule reads, bodies on to off",
                1.0,
                "times",
                "unread_to_bodies_off",
            ),
            ("reading a tool call of 4 KiB, most of it text", 2.0, "us a KiB", "read_text_4_kib_us_a_kib"),
            ("the same, 64 KiB", 2.0, "us a KiB", "read_text_64_kib_us_a_kib"),
            (
                "reading a tool call of 4 KiB, a list of records",
                2.0,
                "us a KiB",
                "read_records_4_kib_us_a_kib",
            ),
            ("the same, 64 KiB", 2.0, "us a KiB", "read_records_64_kib_us_a_kib"),
            (
                "check of a tool call of 4 KiB, most of it text, to one without a body",
                1.3,
                "times",
                "text_to_without_body",
            ),
            (
                "the same without blanks, as the SDKs of MCP write it",
                1.3,
                "times",
                "text_compact_to_without_body",
            ),
            (
                "check of a tool call of 4 KiB, a list of records, to one without a body",
                1.3,
                "times",
                "records_to_without_body",
            ),
            (
                "the same without blanks, as the SDKs of MCP write it",
                1.3,
                "times",
                "records_compact_to_without_body",
            ),
        )
    ),
    *(
        Target(what, limit, unit, partial(_of_policies, path), result="policies")
        for what, limit, unit, path in (
            (
                "decision with 1,000 attribute policies on one resource, 5 of which can match, to 10",
                2.0,
                "times",
                ("attribute_policies", "ratio"),
            ),
            (
                "decision with 1,000,000 role rules to 10, the same request again",
                1.2,
                "times",
                ("role_rules", "repeated", "ratio"),
            ),
            (
                "the same with 1,000 users in turn",
                2.0,
                "times",
                ("role_rules", "thousand_users", "ratio"),
            ),
            (
                "memory of a role rule, 1,000,000 of them",
                350.0,
                "bytes",
                ("load_of_json", "bytes_per_rule", "held"),
            ),
            ("loading 1,000,000 role rules from JSON", 8.0, "s", ("load_of_json", "seconds")),
        )
    ),
    Target(
        "loading from PostgreSQL to fetching the rows",
        1.5,
        "times",
        lambda results, _: results.number("publish", "first_load", "ratio"),
        result="publish",
    ),
    Target(
        "explaining a decision of 10,000 changes ago",
        2.0,
        "s",
        lambda results, _: results.number("explain", "explained", "10000_changes_ago", "slowest_s"),
        result="explain",
    ),
    Target(
        "`policy apply` of a folder of 10,000 objects",
        10.0,
        "s",
        lambda results, _: results.number("apply", "slowest_apply_s"),
        result="apply",
    ),
    *(
        Target(
            what,
            goal,
            "times",
            partial(_worst_of_authzen, name),
            result="authzen",
        )
        for what, goal, name in (
            ("an AuthZEN evaluation to `POST /api/v1/check`", 1.1, "evaluation_to_check"),
            ("an AuthZEN batch of 50 to one evaluation", 10.0, "batch_without_defaults_to_evaluation"),
        )
    ),
    *(
        Target(
            f"{form} check by the Python client, CPU beyond its HTTP library",
            50.0,
            "us",
            partial(_of_client, ("check", form, "own_us")),
            result="client",
        )
        for form in ("blocking", "asynchronous")
    ),
    *(
        Target(
            f"registration of 500 endpoints by the Python client, {framework}, {what}",
            1.0,
            "s",
            partial(_of_client, ("registration_of_500_endpoints", framework.lower(), f"{kind}_s")),
            result="client",
        )
        for framework in ("FastAPI", "Flask", "Django")
        for kind, what in (("first", "new ones"), ("again", "known ones"))
    ),
    *(
        Target(
            f"reload of 100,000 rules ({source}, {server}), {what}",
            limit,
            unit,
            partial(_of_reload, f"{source}, {server}", path),
            result="reload",
        )
        for source in ("files", "postgres")
        for server in ("native", "grpcio")
        for what, limit, unit, path in (
            ("p99 to quiet", 2.0, "times", ("p99_ratio",)),
            ("the slowest check", 25.0, "ms", ("worst_ms",)),
        )
    ),
)


class Row(NamedTuple):
    """A target and what was measured: the value, and whether it is enough; None: not measured."""

    target: Target
    build: str | None
    limit: float
    value: float | None

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached."""
        if self.value is None:
            return None
        return self.value >= self.limit if self.target.at_least else self.value <= self.limit


def rows(results: Results, builds: Sequence[str]) -> list[Row]:
    """Compare every target with the results of each build."""
    found = []
    for target in TARGETS:
        for build in builds if target.result is None else (None,):
            limit = target.limit[build or ""] if isinstance(target.limit, Mapping) else target.limit
            found.append(Row(target, build, limit, target.value(results, build or "")))
    return found


def limit_text(row: Row) -> str:
    """Return a limit as the table shows it."""
    return f"{'at least' if row.target.at_least else 'at most'} {figure(row.limit)} {row.target.unit}"
