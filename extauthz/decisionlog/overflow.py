"""Reports in the application log that decisions are lost because the decision log is full."""

import structlog


class Overflow:
    """Reports once that the loss begins, and once that it has ended. Used by the thread that writes the
    log."""

    def __init__(self) -> None:
        """Start without losses."""
        self._known = 0
        self._going_on = False

    def known(self, lost: int) -> None:
        """Note losses that have another cause, which is logged elsewhere."""
        self._known = lost

    def look(self, target: str, lost: int, *, full: bool) -> None:
        """Compare the decisions lost so far with those of the last look."""
        losing = lost > self._known
        self._known = lost
        log = structlog.get_logger().bind(logger="extauthz.decisionlog", target=target, decisions_lost=lost)
        if losing and not self._going_on:
            log.error("decision_log_overflow", message="lines are not written as fast as decisions are made")
        if self._going_on and not losing and not full:
            log.warning("decision_log_overflow_ended")
        self._going_on = losing or (self._going_on and full)
