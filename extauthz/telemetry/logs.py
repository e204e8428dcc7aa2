"""Configures application logs: on standard error, one format for extauthz and its libraries, no credentials.

Input: a level and a format (`LOG_LEVEL`, `LOG_FORMAT`). Output: configured structlog and `logging`.
"""

import contextlib
import io
import logging
import sys
from typing import Final, TextIO, cast

import orjson
import structlog
from structlog.typing import EventDict, Processor

from extauthz.telemetry.redaction import redact
from extauthz.telemetry.seldom import SeldomAcceptFailures

FORMATS: Final = ("json", "console")

_NOISY: Final = ("uvicorn.access", "asyncio")


class LogStream(io.TextIOBase):
    """A stream for log lines. INVARIANT: writing never raises.

    If standard error is a file on a full disk, an exception would end the thread that writes the decision
    log, and turn a logged denial into an RPC error.
    """

    def __init__(self, stream: TextIO) -> None:
        """Wrap the stream that receives the lines."""
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text; ignore errors of the stream."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream; ignore its errors."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self._stream.isatty()


def configure(level: str, log_format: str, *, stream: TextIO | None = None) -> None:
    """Configure structlog and the standard library's logging for this process.

    `level` is a level name of the standard library (`INFO`, in any case), `log_format` one of `FORMATS`;
    `stream` is standard error by default.
    """
    out = LogStream(stream or sys.stderr)
    threshold = logging.getLevelNamesMapping()[level.upper()]
    common: list[Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
        redact,
    ]
    structlog.configure(
        processors=[*common, _renderer(log_format, out)],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.PrintLoggerFactory(cast("TextIO", out)),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *common,
                _renderer(log_format, out),
            ],
        )
    )
    handler.addFilter(SeldomAcceptFailures())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    for name in _NOISY:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))
    logging.captureWarnings(capture=True)


def _renderer(log_format: str, out: LogStream) -> Processor:
    if log_format == "console":
        return structlog.dev.ConsoleRenderer(
            colors=out.isatty(), timestamp_key="ts", exception_formatter=structlog.dev.plain_traceback
        )
    return _json


def _json(_: object, __: str, event_dict: EventDict) -> str:
    text = {"ts": event_dict.pop("ts", None), "level": event_dict.pop("level", None), **event_dict}
    try:
        return orjson.dumps(text, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        return orjson.dumps({name: ascii(value) for name, value in text.items()}).decode()
