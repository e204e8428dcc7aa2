"""What `extauthz logs verify` found in a decision log."""

from dataclasses import dataclass

import orjson


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers `first` to `last` of an instance are missing in front of line `line`."""

    instance: str
    first: int
    last: int
    line: int
    explained: bool
    file: str


@dataclass(frozen=True, slots=True)
class SchemaError:
    """What is wrong with line `line` of `file`, counted from 1."""

    line: int
    problem: str
    file: str


@dataclass(frozen=True, slots=True)
class ChainError:
    """Where the chain of an instance is broken; `line` is None for lines that are missing at the end."""

    instance: str
    line: int | None
    problem: str
    file: str | None


@dataclass(frozen=True, slots=True)
class InstanceSummary:
    """The lines of one process start. `head` is the hash of the last, None without a chain."""

    instance: str
    worker: int
    lines: int
    decisions: int
    last_seq: int
    missing: int
    decisions_lost: int
    sampled_out: int
    stopped: bool
    head: str | None


@dataclass(frozen=True, slots=True)
class LogReport:
    """The result for all files. `unfinished_lines` are lines that a killed writer or a full disk cut off.

    `decisions` have lines; `decisions_lost` and `sampled_out` (allows) have none and are counted.
    """

    lines: int
    decisions: int
    decisions_lost: int
    sampled_out: int
    instances: tuple[InstanceSummary, ...]
    gaps: tuple[Gap, ...]
    unexplained_gaps: int
    schema_errors: tuple[SchemaError, ...]
    schema_error_count: int
    chain_errors: tuple[ChainError, ...]
    chain_error_count: int
    repeated_lines: int
    unfinished_lines: tuple[int, ...]
    without_stop_line: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True when no gap is unexplained, every finished line fits the schema, and no chain is broken."""
        return self.unexplained_gaps == 0 and self.schema_error_count == 0 and self.chain_error_count == 0

    def as_json(self) -> bytes:
        """Return the report as one JSON object, `ok` first."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return orjson.dumps({"ok": self.ok} | fields, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
