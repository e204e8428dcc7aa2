"""Senders of OTLP requests that keep what they store, and answer at random or as a test says."""

import random

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from extauthz.telemetry.otlp import NotSent, Sent


class RandomSender:
    """A sender that stores or not, and confirms or not, at random. It may reject some records."""

    def __init__(self, seed: int, *, rejects: bool) -> None:
        """Take the seed of the answers; with `rejects` some records of a request are rejected."""
        self._random = random.Random(seed)
        self._rejects = rejects
        self.bodies: list[bytes] = []
        self.is_reliable = False

    def send(self, request: bytes, _: float) -> Sent | NotSent:
        """Return a random answer; `is_reliable`: store and confirm all."""
        chance = 0.0 if self.is_reliable else self._random.random()
        stored = [
            record.body.string_value.encode() + b"\n"
            for resource in ExportLogsServiceRequest.FromString(request).resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]
        if self._rejects and 0 < chance < 0.1:
            rejected = self._random.sample(range(len(stored)), self._random.randint(1, len(stored)))
            self.bodies += [body for number, body in enumerate(stored) if number not in rejected]
            return Sent(rejected=len(rejected))
        if chance < 0.5:
            self.bodies += stored
            return Sent()
        if chance < 0.7:
            self.bodies += stored
            return NotSent("no answer", again=True)
        return NotSent("away", again=True) if chance < 0.85 else NotSent("refused", again=False)

    def close(self) -> None:
        """Do nothing."""


class ScriptedSender(RandomSender):
    """A sender with these answers, which then stores everything; `"reject"` stores all but the first."""

    def __init__(self, *answers: str) -> None:
        """Take the answers in order: `store`, `refuse`, `away` or `reject`."""
        super().__init__(0, rejects=False)
        self.is_reliable = True
        self.answers = list(answers)

    def send(self, request: bytes, within_s: float) -> Sent | NotSent:
        """Return the next answer."""
        answer = self.answers.pop(0) if self.answers else "store"
        if answer == "refuse":
            return NotSent("refused", again=False)
        if answer == "away":
            return NotSent("away", again=True)
        before = len(self.bodies)
        super().send(request, within_s)
        if answer == "reject":
            del self.bodies[before]
            return Sent(rejected=1)
        return Sent()
