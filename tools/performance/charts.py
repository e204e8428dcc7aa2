"""Bar charts as SVG text, with nothing but the standard library."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final, NamedTuple

from tools.performance.names import PARTS, SERVERS
from tools.performance.results import Results, figure, interpreter

_WIDTH, _LEFT, _RIGHT, _BAR, _GAP, _GROUP, _TOP, _FOOT = 760, 210, 90, 16, 5, 14, 56, 28
_COLOURS: Final = {"ours": "#1b6ca8", "peer": "#d1852b", "empty": "#9aa5ad", "part": "#4b8f6b"}


class Bar(NamedTuple):
    """One bar: what it stands for, how long it is, and the kind that gives its colour."""

    label: str
    value: float
    kind: str


def chart(title: str, unit: str, groups: Sequence[tuple[str, Sequence[Bar]]]) -> str:
    """Return horizontal bars on one scale from zero, in named groups."""
    largest = max((bar.value for _, bars in groups for bar in bars), default=0.0) or 1.0
    room = _WIDTH - _LEFT - _RIGHT
    body: list[str] = []
    y = _TOP
    for name, bars in groups:
        body.append(f'<text x="12" y="{y + 11}" class="group">{escape(name)}</text>')
        y += _BAR + _GAP
        for label, value, kind in bars:
            length = max(1.0, room * value / largest)
            body += [
                f'<text x="{_LEFT - 8}" y="{y + 12}" text-anchor="end">{escape(label)}</text>',
                f'<rect x="{_LEFT}" y="{y}" width="{length:.1f}" height="{_BAR}" fill="{_COLOURS[kind]}"/>',
                f'<text x="{_LEFT + length + 6:.1f}" y="{y + 12}">{figure(value)}</text>',
            ]
            y += _BAR + _GAP
        y += _GROUP
    height = y + _FOOT - _GROUP
    used = dict.fromkeys(bar.kind for _, bars in groups for bar in bars)
    legend, x = [], 12
    words = {
        "ours": "extauthz",
        "peer": "lean Go server",
        "empty": "answers without looking",
        "part": "a part",
    }
    for kind in used:
        legend += [
            f'<rect x="{x}" y="{height - 20}" width="10" height="10" fill="{_COLOURS[kind]}"/>',
            f'<text x="{x + 15}" y="{height - 11}">{words[kind]}</text>',
        ]
        x += 30 + 7 * len(words[kind])
    return "\n".join(
        [
            (
                f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}"'
                f' viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}">'
            ),
            (
                "<style>text{font:12px sans-serif;fill:#222}.title{font-size:15px;font-weight:bold}"
                ".group{font-weight:bold}</style>"
            ),
            f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
            f'<text x="12" y="22" class="title">{escape(title)}</text>',
            f'<text x="12" y="40">{escape(unit)}</text>',
            *body,
            *legend,
            "</svg>",
            "",
        ]
    )


def drawn(results: Results) -> Mapping[str, str]:
    """Return every chart of the page by name; a chart without numbers is left out."""
    charts = {
        "cpu-4x1": ("CPU of one check, 4 connections with one call each", "microseconds", "4x1", "cpu_us"),
        "cpu-8x16": ("CPU of one check, 8 connections with 16 calls each", "microseconds", "8x16", "cpu_us"),
        "rate-4x1": (
            "Checks a second, 4 connections with one call each",
            "one core",
            "4x1",
            "requests_per_s",
        ),
        "p99-4x1": ("p99 of a check, 4 connections with one call each", "microseconds", "4x1", "p99_us"),
        "p50-alone": ("p50 of a check that is alone", "microseconds", "alone", "p50_us"),
        "p99-envoy": (
            "p99 of a request through Envoy, 4 connections with one request each",
            "microseconds",
            "through_envoy_4x1",
            "p99_us",
        ),
        "cpu-first-seen": (
            "CPU of a check whose token was not seen before",
            "microseconds",
            "4x1_first_seen_tokens",
            "cpu_us",
        ),
    }
    found: dict[str, str] = {}
    for name, (title, unit, shape, column) in charts.items():
        groups = [
            (interpreter(document), _servers(document["numbers"].get(shape, {}), column))
            for _, document in results.builds("requests")
        ]
        if any(bars for _, bars in groups):
            found[name] = chart(title, unit, groups)
    parts = [
        (
            interpreter(document),
            [
                Bar(label, document["numbers"][key], "part")
                for key, label in PARTS
                if key in document["numbers"] and "first_seen" not in key
            ],
        )
        for _, document in results.builds("check")
    ]
    if any(bars for _, bars in parts):
        found["parts"] = chart("Parts of one check in the process", "microseconds, each by itself", parts)
    return found


def _servers(numbers: Mapping[str, Mapping[str, float]], column: str) -> list[Bar]:
    return [
        Bar(server.label, numbers[name][column], server.kind)
        for name, server in SERVERS.items()
        if name in numbers
    ]
