"""Clients that send the standing load through Envoy, and the answers they got."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from extauthz.demo.processes import LOOPBACK
from tests.faults.oracle import NOT_ANSWERED, UNAVAILABLE, Question, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CLIENTS = 4
ANSWER_S = 10.0
"""How long a client waits for one answer before it counts the request as not answered."""


PAUSE_S = 0.02


@dataclass
class Tally:
    """What was answered in one phase: verdicts, and each answer that was not right."""

    verdicts: Counter[Verdict] = field(default_factory=Counter)
    others: Counter[tuple[str, int, int]] = field(default_factory=Counter)
    """(request, right status, status) of the answers that were not right."""

    @property
    def total(self) -> int:
        """How many requests were sent."""
        return self.verdicts.total()


class Load:
    """Sends the questions in turn from `CLIENTS` connections; enter it to start, leave it to stop."""

    def __init__(self, port: int, questions: Sequence[Question], *, pause_s: float = 0.0) -> None:
        """Name Envoy's port and the requests; each client waits `pause_s` between two of them."""
        self._pause_s = pause_s
        self._port = port
        self._questions = questions
        self._over = threading.Event()
        self._changed = threading.Condition()
        self._tally = Tally()
        self._right_in_a_row = 0
        self._threads = [threading.Thread(target=self._client, args=(n,)) for n in range(CLIENTS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def phase(self, requests: int, *, within_s: float, at_least_s: float = 0.0) -> Tally:
        """Count anew, wait for the given number of answers and of seconds, and return the answers.

        A phase in which requests time out ends after three times `at_least_s`, with at least one answer.
        Answers to requests that were on their way when the phase began count in it.
        """
        now = time.monotonic()
        ends, ends_latest = now + at_least_s, now + 3 * (at_least_s or within_s)

        def over() -> bool:
            wanted = requests if time.monotonic() < ends_latest else 1
            return self._tally.total >= wanted and time.monotonic() >= ends

        with self._changed:
            self._tally = Tally()
            self._wait(over, within_s, f"{requests} answers")
            done, self._tally = self._tally, Tally()
        return done

    def await_right_answers(self, *, within_s: float) -> float:
        """Wait until each question was answered right twice in a row; return the seconds it took."""
        began = time.monotonic()
        with self._changed:
            self._right_in_a_row = 0
            wanted = 2 * len(self._questions)
            self._wait(lambda: self._right_in_a_row >= wanted, within_s, "only right answers")
        return time.monotonic() - began

    def take(self) -> Tally:
        """Return what was answered since the last phase, and count anew."""
        with self._changed:
            done, self._tally = self._tally, Tally()
        return done

    def _wait(self, reached: Callable[[], bool], within_s: float, what: str) -> None:
        assert self._changed.wait_for(reached, within_s), (
            f"not {what} within {within_s} s; so far {dict(self._tally.verdicts)}, {dict(self._tally.others)}"
        )

    def _client(self, first: int) -> None:
        connection = http.client.HTTPConnection(LOOPBACK, self._port, timeout=ANSWER_S)
        position = first * len(self._questions) // CLIENTS
        while not self._over.is_set():
            question = self._questions[position % len(self._questions)]
            position += 1
            status = _status(connection, question)
            self._count(question, status)
            if status in {UNAVAILABLE, NOT_ANSWERED}:
                # A client obeys `Retry-After`.
                self._over.wait(PAUSE_S)
            elif self._pause_s:
                self._over.wait(self._pause_s)
        connection.close()

    def _count(self, question: Question, status: int) -> None:
        verdict = question.judge(status)
        with self._changed:
            self._tally.verdicts[verdict] += 1
            if verdict is Verdict.RIGHT:
                self._right_in_a_row += 1
            else:
                self._right_in_a_row = 0
                self._tally.others[question.name, question.right, status] += 1
            self._changed.notify_all()


def _status(connection: http.client.HTTPConnection, question: Question) -> int:
    headers = {} if question.token is None else {"authorization": f"Bearer {question.token}"}
    try:
        connection.request(question.method, question.path, headers=headers)
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        connection.close()
        return NOT_ANSWERED
    return response.status
