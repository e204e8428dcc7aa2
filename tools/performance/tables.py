"""The tables of docs/performance.md, as Markdown."""

from collections.abc import Callable, Mapping
from typing import Final

from tools.performance import other_tables, reach
from tools.performance.markdown import table
from tools.performance.names import PARTS, SERVERS
from tools.performance.results import Document, Results, figure, interpreter, load

_SHAPES: Final = {
    "4x1": "4 connections with one call each",
    "8x16": "8 connections with 16 calls each",
    "alone": "one call at a time",
    "4x1_raw_headers": "4 connections with one call each, raw headers (the shipped Envoy configuration)",
}
_WORDS: Final = {True: "reached", False: "**not reached**", None: "not measured"}


def _runs(results: Results) -> str:
    return table(
        ("result", "commit", "interpreter", "machine", "load during the run"),
        (
            (
                f"[{name}](../tests/benchmarks/results/{name}.json)",
                str(document["commit"]),
                interpreter(document),
                f"{document['machine']['processor']}, {document['machine']['cores']} cores",
                load(document),
            )
            for name, document in results.documents.items()
        ),
    )


def _reach(results: Results) -> str:
    builds = [build for build, _ in results.builds("requests")]
    names = {name: interpreter(document) for name, document in results.documents.items()}
    names |= {build: interpreter(document) for build, document in results.builds("requests")}
    return table(
        ("what", "reach", "interpreter", "measured", ""),
        (
            (
                row.target.what,
                reach.limit_text(row),
                names.get(row.build or row.target.result or "", "-"),
                "-" if row.value is None else f"{figure(row.value)} {row.target.unit}",
                _WORDS[row.reached],
            )
            for row in reach.rows(results, builds)
        ),
    )


def _servers(results: Results) -> str:
    parts = []
    for _, document in results.builds("requests"):
        for shape, words in _SHAPES.items():
            parts.append(f"{interpreter(document)}; {words}:\n\n{_shape(document, shape)}")
    return "\n".join(parts)


def _shape(document: Document, shape: str) -> str:
    numbers: Mapping[str, Mapping[str, float]] = document["numbers"].get(shape, {})
    return table(
        ("server", "CPU us a check", "checks/s", "p50 us", "p99 us", "client's CPU us a check"),
        (
            (
                server.label,
                *(
                    figure(numbers[name][column])
                    for column in ("cpu_us", "requests_per_s", "p50_us", "p99_us", "client_us")
                ),
            )
            for name, server in SERVERS.items()
            if name in numbers
        ),
    )


def _first_seen(results: Results) -> str:
    return "\n".join(
        f"{interpreter(document)}:\n\n{_shape(document, '4x1_first_seen_tokens')}"
        for _, document in results.builds("requests")
    )


def _envoy(results: Results) -> str:
    parts = []
    for _, document in results.builds("requests"):
        numbers = document["numbers"].get("through_envoy_4x1", {})
        rows = (
            (
                server.label,
                *(
                    figure(numbers[name][column])
                    for column in ("requests_per_s", "p50_us", "p99_us", "cpu_us")
                ),
            )
            for name, server in SERVERS.items()
            if name in numbers
        )
        head = ("authorizer", "requests/s", "p50 us", "p99 us", "authorizer's CPU us a check")
        parts.append(f"{interpreter(document)}:\n\n{table(head, rows)}")
    return "\n".join(parts)


def _parts(results: Results) -> str:
    builds = results.builds("check")
    return table(
        ("part", *(f"us, {interpreter(document)}" for _, document in builds)),
        (
            (label, *(_figure(document["numbers"].get(key)) for _, document in builds))
            for key, label in PARTS
            if any(key in document["numbers"] for _, document in builds)
        ),
    )


def _whole(results: Results) -> str:
    rows = []
    for build, document in results.builds("requests"):
        for shape in ("4x1", "8x16"):
            whole = results.number(f"requests-{build}", shape, "native", "cpu_us")
            front = results.number(f"requests-{build}", shape, "native_empty", "cpu_us")
            check = results.number(f"check-{build}", "check_with_log_line_us")
            if whole is not None and front is not None and check is not None:
                left = whole - front - check
                rows.append(
                    (interpreter(document), _SHAPES[shape], *map(figure, (whole, front, check, left)))
                )
    return table(
        ("interpreter", "shape", "native server us", "empty front us", "check in the process us", "left us"),
        rows,
    )


def _figure(value: float | None) -> str:
    return "-" if value is None else figure(value)


TABLES: Final[Mapping[str, Callable[[Results], str]]] = {
    "runs": _runs,
    "reach": _reach,
    "servers": _servers,
    "first-seen": _first_seen,
    "envoy": _envoy,
    "parts": _parts,
    "whole": _whole,
    "hostile": other_tables.hostile,
    "policies": other_tables.policies,
    "bodies": other_tables.bodies,
    "soak": other_tables.soak,
}
