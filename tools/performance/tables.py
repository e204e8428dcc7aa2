"""The tables of docs/performance.md, as Markdown."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from tools.performance import reach
from tools.performance.names import PARTS, SERVERS
from tools.performance.results import Document, Results, figure, interpreter, load

_SHAPES: Final = {
    "4x1": "4 connections with one call each",
    "8x16": "8 connections with 16 calls each",
    "alone": "one call at a time",
    "4x1_raw_headers": "4 connections with one call each, raw headers (the shipped Envoy configuration)",
}
_WORDS: Final = {True: "reached", False: "**not reached**", None: "not measured"}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


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
    names = {build: interpreter(document) for build, document in results.builds("requests")}
    return table(
        ("what", "reach", "interpreter", "measured", ""),
        (
            (
                row.target.what,
                reach.limit_text(row),
                names.get(row.build or "", "-"),
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


def _hostile(results: Results) -> str:
    costs = results.documents["hostile"]["numbers"]["costs"]
    return f"{interpreter(results.documents['hostile'])}:\n\n" + table(
        ("request", "bytes", "decode us", "check after decoding us", "answer"),
        (
            (
                name.replace("_", " "),
                f"{cost['request_bytes']:,}",
                figure(cost["decode_us"]),
                figure(cost["check_after_decoding_us"]),
                f"`{cost['answer']}`",
            )
            for name, cost in costs.items()
        ),
    )


def _soak(results: Results) -> str:
    document = results.documents.get("soak")
    if document is None:
        return "Not run yet.\n"
    numbers = document["numbers"]
    growth = numbers["memory"]["growth"]
    rows = [
        ("seconds", f"{numbers['seconds']:.0f}, the first {numbers['warm_up_s']:.0f} of them to warm up"),
        ("requests", f"{numbers['requests']:,}"),
        *((f"answers: {verdict}", f"{count:,}") for verdict, count in numbers["answers"].items()),
        ("not answered", str(numbers["not_answered"])),
        *(
            (f"unavailable after {what}", f"{count:,}")
            for what, count in numbers["unavailable_after"].items()
        ),
        *((f"changes: {what}", f"{count:,}") for what, count in numbers["changes"].items()),
        *(
            (f"memory growth of {who}", "-" if share is None else f"{share:.1%}")
            for who, share in growth.items()
        ),
        ("problems", "; ".join(numbers["problems"]) or "none"),
    ]
    return f"{interpreter(document)}:\n\n{table(('what', 'how much'), rows)}"


TABLES: Final[Mapping[str, Callable[[Results], str]]] = {
    "runs": _runs,
    "reach": _reach,
    "servers": _servers,
    "first-seen": _first_seen,
    "envoy": _envoy,
    "parts": _parts,
    "whole": _whole,
    "hostile": _hostile,
    "soak": _soak,
}
