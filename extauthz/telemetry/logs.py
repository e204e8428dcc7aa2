"""Application logs: to standard error, in one form for us and for the libraries, without credentials."""

import contextlib
import io
import logging
import sys
from typing import Final, TextIO, cast

import orjson
import structlog
from structlog.typing import EventDict, Processor

from extauthz.telemetry.redaction import redact

FORMATS: Final = ("json", "console")

_NOISY: Final = ("uvicorn.access", "asyncio")


class LogStream(io.TextIOBase):
    """A stream for log lines. INVARIANT: a line that cannot be written is no error of what logs it.

    Else a disk that standard error is full of would end the thread that writes the decision log, and turn a
    denial that is logged into an RPC error.
    """

    def __init__(self, stream: TextIO) -> None:
        """Take the stream that the lines go to."""
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text, as far as that is possible."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what was written, as far as that is possible."""
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()

    def isatty(self) -> bool:
        """Tell whether the lines go to a terminal."""
        return self._stream.isatty()


def configure(level: str, log_format: str, *, stream: TextIO | None = None) -> None:
    """Set up structlog and the standard library's logging for this process.

    `level` is a name of the standard library (`INFO`; any case), `log_format` one of `FORMATS`. `stream` is
    standard error unless given.
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
