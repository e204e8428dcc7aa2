"""Numbers the lines of a decision log, writes them, and decides about those that could not be written.

A line that could not be written is lost, or held until it can be written (DECISION_LOG_ON_OVERFLOW=deny, and
collectors, which may have stored what they did not confirm: only the same line again has its number then).
INVARIANT: while lines are held, no other line is numbered. Used by the thread of the log.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

import orjson
import structlog

from extauthz.decisionlog.destination import Destination, WrittenLines
from extauthz.decisionlog.lines import Lines, LogEntry, LogPosition

_HEAD_OF_LINE: Final = 96
_STARTED: Final = b'"event":"log_started"'
_DECISION: Final = b'"event":"decision"'
_EVERY_LEVEL: Final = structlog.make_filtering_bound_logger(logging.NOTSET)
"""Heads are evidence: LOG_LEVEL, which is for messages, does not leave them out."""


class LineWriter:
    """Writes the lines of one instance to a destination.

    `lose` counts decisions that get no line, `lost` returns how many there are. `give_back` takes slots of
    decisions that are done with. `deny` holds every line that cannot be written.
    """

    def __init__(
        self,
        target: str,
        lines: Lines,
        *,
        deny: bool,
        clock: Callable[[], float],
        lose: Callable[[int], None],
        lost: Callable[[], int],
        give_back: Callable[[int], None],
    ) -> None:
        self._target = target
        self._lines = lines
        self._deny = deny
        self._clock = clock
        self._lose = lose
        self._lost = lost
        self._give_back = give_back
        self._destination: Destination
        self._held: list[bytes] = []
        self._held_from = LogPosition()
        self._unsure = False
        self._announced = False
        self.failing = False
        self.recoveries = 0
        self.problem: str | None = None
        """Why the last write failed, in lower case."""

    def open(self, destination: Destination) -> None:
        """Take the destination that is written to from now on."""
        self._destination = destination

    @property
    def drops(self) -> bool:
        """Whether what is put now would be lost: rendering it would be for nothing."""
        return self.failing and not self._deny

    @property
    def holds(self) -> bool:
        """Whether lines are held until they can be written."""
        return bool(self._held)

    def put(self, entries: Sequence[LogEntry]) -> None:
        """Write the lines of decisions. Called while nothing is held."""
        before = self._lines.position
        lines = self._all_rendered(entries)
        done = self._out(lines)
        rest = lines[done.lines :]
        self._give_back(len(entries) - len(rest))
        self._reject(lines[: done.lines], done.rejected)
        if not rest:
            return
        after = _with_lost(self._lines.after(before, lines[: done.lines]), done.rejected)
        if self._deny or done.keep:
            self._held, self._held_from, self._unsure = rest, after, done.keep
            return
        self._give_back(len(rest))
        self._lines.position = after
        self._lose(len(rest))

    def leaves_out(self, entry: LogEntry) -> bool:
        """Tell whether sampling leaves an allow out."""
        return self._lines.samples and self._lines.leaves_out(entry[0])

    def retry(self) -> bool:
        """Write what is held; true when nothing is held any more."""
        if self._deny and not self.announce():
            return False
        if not self._held:
            return True
        done = self._out(self._held)
        written, rest = self._held[: done.lines], self._held[done.lines :]
        self._held_from = _with_lost(self._lines.after(self._held_from, written), done.rejected)
        self._held, self._unsure = rest, self._unsure or done.keep
        self._give_back(_decisions(written))
        self._reject(written, done.rejected)
        if rest and not self._deny and not done.keep:
            self._give_up()
        return not self._held

    def heartbeat(self) -> None:
        """Write the line that says what was lost and left out, if it can be written."""
        if self.announce() and self.retry():
            self._say(lambda: self._lines.heartbeat(self._clock(), self._lost()))

    def announce(self) -> bool:
        """Write the first line; true when it is written, or held."""
        if not self._announced:
            self._say(lambda: self._lines.started(self._clock()))
            # A line that was rejected has used its number.
            self._announced = self._lines.position.seq > 0
        return self._announced

    def reopen(self) -> None:
        """Go on in the file that now has the path."""
        error = self._destination.reopen()
        if error:
            app_log().error("decision_log_not_reopened", target=self._target, error=str(error))

    def end(self) -> None:
        """Give up what is held, write the last line, and close the destination."""
        if self._held:
            self._give_up()
        ended = (
            self.announce()
            and not self._held
            and self._say(lambda: self._lines.stopped(self._clock(), self._lost()))
        )
        self.tell_head()
        if not ended and self._lost():
            app_log().error(
                "decision_log_cut_off",
                target=self._target,
                decisions_lost=self._lost(),
                message="the line that counts the lost decisions could not be written",
            )
        self._destination.close()

    def tell_head(self) -> None:
        """Say in the application log, which is kept elsewhere, which line a chained log has reached."""
        written = self._held_from if self._held else self._lines.position
        if self._lines.algorithm is None or written.seq == 0:
            return
        app_log(_EVERY_LEVEL).info(
            "decision_log_head",
            instance=self._lines.instance,
            seq=written.seq,
            chain=f"{self._lines.algorithm}:{written.chain}",
            decisions_lost=written.lost,
        )

    def _all_rendered(self, entries: Sequence[LogEntry]) -> list[bytes]:
        turn = self._destination.pace.turn
        if turn is None:
            return [line for entry in entries if (line := self._rendered(entry)) is not None]
        lines: list[bytes] = []
        for start in range(0, len(entries), turn):
            part = entries[start : start + turn]
            lines += [line for entry in part if (line := self._rendered(entry)) is not None]
            # Requests under way wait for the interpreter otherwise.
            time.sleep(0)
        return lines

    def _rendered(self, entry: LogEntry) -> bytes | None:
        try:
            return None if self.leaves_out(entry) else self._lines.decision(entry)
        except Exception:  # noqa: BLE001  # one line is lost, never the thread that writes all others
            self._lose(1)
            app_log().exception("decision_not_rendered")
            return None

    def _say(self, line: Callable[[], bytes]) -> bool:
        """Write a line that is not of a decision."""
        before = self._lines.position
        lines = [line()]
        done = self._out(lines)
        if done.lines:
            self._reject(lines, done.rejected)
            return not done.rejected
        if done.keep:
            self._held, self._held_from, self._unsure = lines, before, True
        else:
            self._lines.position = before
        return False

    def _give_up(self) -> None:
        """Lose what is held. Where it may have been stored all the same, its numbers are not used again.

        Each such number counts as a lost decision, a heartbeat's too: the count is never too small.
        """
        decisions = _decisions(self._held)
        self._give_back(decisions)
        if self._unsure:
            self._consume(len(self._held))
            self._lose(len(self._held))
            position = self._lines.position
            # Allows that these lines count are counted again by the next line.
            self._lines.position = position._replace(reported=self._held_from.reported)
        else:
            self._lines.position = self._held_from
            self._announced = self._announced and _STARTED not in self._held[0][:_HEAD_OF_LINE]
            self._lose(decisions)
        self._held = []

    def _reject(self, written: Sequence[bytes], rejected: int) -> None:
        """Count lines that a collector rejected, which it does not name, and allows that they may count."""
        if rejected:
            left_out = sorted(orjson.loads(line).get("sampled_out_since_last", 0) for line in written)
            self._consume(rejected)
            self._lose(rejected + sum(left_out[-rejected:]))

    def _consume(self, decisions: int) -> None:
        """Count decisions as lost that have numbers already: no further number is skipped for them."""
        self._lines.position = _with_lost(self._lines.position, decisions)

    def _out(self, lines: list[bytes]) -> WrittenLines:
        if not lines:
            return WrittenLines(0)
        done = self._destination.write(lines)
        error = done.error
        if done.made_anew:
            message = "the file was deleted; it is made anew"
            app_log().warning("decision_log_deleted", target=self._target, message=message)
        if done.rejected:
            rejected, cause = done.rejected, done.detail
            app_log().error("decision_log_rejected", target=self._target, lines=rejected, error=cause)
        if error and not self.failing:
            app_log().error("decision_log_failing", target=self._target, error=str(error))
        if not error and self.failing:
            self.recoveries += 1
            app_log().warning("decision_log_recovered", target=self._target, decisions_lost=self._lost())
        self.failing = error is not None
        self.problem = None if error is None else (error.strerror or str(error)).lower()
        return done


def app_log(
    wrapper: type[structlog.typing.FilteringBoundLogger] | None = None,
) -> structlog.typing.FilteringBoundLogger:
    """Return the application log; `wrapper` replaces that of LOG_LEVEL."""
    unbound = structlog.wrap_logger(None, wrapper_class=wrapper)
    logger: structlog.typing.FilteringBoundLogger = unbound.bind(logger="extauthz.decisionlog")
    return logger


def _with_lost(position: LogPosition, decisions: int) -> LogPosition:
    """Return a position at which that many more decisions are lost whose numbers are used already."""
    return position._replace(lost=position.lost + decisions)


def _decisions(lines: Sequence[bytes]) -> int:
    return sum(_DECISION in line[:_HEAD_OF_LINE] for line in lines)
