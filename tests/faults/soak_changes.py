"""The changes during a soak, each in its own thread: rules, policies, tokens, keys and workers."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from tests.faults.changing_load import Changing, ChangingLoad, Timeline
from tests.faults.oracle import UNAVAILABLE
from tests.faults.worker_processes import number_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from extauthz.demo.rest import RestReply
    from tests.faults.mesh import FaultyStack

KEPT_WORKER: Final = 0
"""It is never killed."""

POLICY_EVERY_S: Final = 4.0
OTHER_RULES_EVERY_S: Final = 0.2
TOKENS_EVERY_S: Final = 4.0
"""A worker remembers verified tokens up to a bound of 128 MB; so few are new that their growth is not part of
the result."""

RENEWALS_PER_SET: Final = 8
"""Of alice's token, for each of all tokens."""

SETS_PER_ROTATION: Final = 2
KILL_EVERY_S: Final = 15.0
_WRITTEN_WITHIN_S: Final = 60.0
_RETRY_S: Final = 0.5
_RULES: Final = "/api/v1/resources/policies"
_POLICIES: Final = "/api/v1/abac/policies"
_ITEM_1_IS_DENIED: Final = {
    "name": "item 1 is denied",
    "resource": "soaked-policy:read",
    "effect": "deny",
    "priority": 10,
    "rule_data": {"type": "CONDITION", "attribute": "resource.item", "operator": "eq", "value": "1"},
}


class Changes:
    """The changes of one soak and the questions that they concern."""

    def __init__(self, stack: FaultyStack) -> None:
        """Create the resources whose rules will change."""
        self._stack = stack
        self._rule, self._policy = Timeline(200), Timeline(200)
        for name in ("soaked-rule", "soaked-policy"):
            route = {"methods": ["GET"], "path": f"/demo/{name}/{{item}}"}
            resource = {"name": f"{name}:read", "displayName": name, "serviceName": "demo", "routes": [route]}
            stack.rest.create("/api/v1/resources", resource)
        stack.rest.create(_RULES, _finance_reads("soaked-policy:read"))
        self._rule_path = f"{_RULES}/{stack.rest.create(_RULES, _finance_reads('soaked-rule:read')).id}"
        self._policy_path = ""
        self.questions = ChangingLoad(
            stack.tokens(),
            (
                Changing("a rule that changes its effect", "/demo/soaked-rule/1", self._rule),
                Changing("a policy that comes and goes", "/demo/soaked-policy/1", self._policy),
            ),
        )
        self.over = threading.Event()
        """Set at the end, and when a change failed."""
        self.failures: list[BaseException] = []
        self.made: Counter[str] = Counter()
        self.worker_ended_at = float("-inf")
        self.keys_rotated_at = float("-inf")

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Make changes until the end of the block."""
        every = {
            self._change_rule: POLICY_EVERY_S,
            self._change_policy: POLICY_EVERY_S,
            self._change_other_rules: OTHER_RULES_EVERY_S,
            self._renew_tokens: TOKENS_EVERY_S,
            self._end_worker: KILL_EVERY_S,
        }
        threads = [threading.Thread(target=self._repeat, args=each) for each in every.items()]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.over.set()
            for thread in threads:
                thread.join()

    def _repeat(self, change: Callable[[int], None], seconds: float) -> None:
        number = 0
        try:
            while not self.over.wait(seconds):
                change(number)
                number += 1
        except BaseException as failure:  # noqa: BLE001 - the soak reports it
            self.failures.append(failure)
            self.over.set()

    def _change_rule(self, number: int) -> None:
        effect, status = (("deny", 403), ("allow", 200))[number % 2]
        document = _finance_reads("soaked-rule:read") | {"effect": effect}
        self._rule.change(status, lambda: self._written("PUT", self._rule_path, document))
        self.made["effects of a rule"] += 1

    def _change_policy(self, number: int) -> None:
        status, write = ((403, self._create_policy), (200, self._delete_policy))[number % 2]
        self._policy.change(status, write)
        self.made["policies created or deleted"] += 1

    def _change_other_rules(self, _number: int) -> None:
        created = self._written("POST", _RULES, _finance_reads("ledger:read"))
        self._written("DELETE", f"{_RULES}/{created.id}")
        self.made["other rules created or deleted"] += 2

    def _renew_tokens(self, number: int) -> None:
        """Renew alice's token, in its turn every token, and in the turn of that the keys.

        One after the other: the demo's identity provider does not answer while it makes keys.
        """
        sets, rest = divmod(number + 1, RENEWALS_PER_SET)
        if rest:
            self.questions.renew_alice(self._stack.people.token("alice"))
            self.made["new tokens"] += 1
            return
        if sets % SETS_PER_ROTATION == 0:
            self._stack.people.rotate_keys()
            self.keys_rotated_at = time.monotonic()
            self.made["rotations of keys"] += 1
        tokens = self._stack.tokens()
        self.questions.renew(tokens)
        self.made["new tokens"] += len(tokens)

    def _end_worker(self, number: int) -> None:
        others = self._stack.workers - 1
        for pid in self._stack.workers_pids():
            if number_of(pid) == KEPT_WORKER + 1 + number % others:
                self.worker_ended_at = time.monotonic()
                how = (signal.SIGKILL, signal.SIGTERM)[number // others % 2]
                os.kill(pid, how)
                self.made[f"workers ended by {how.name}"] += 1

    def _create_policy(self) -> None:
        self._policy_path = f"{_POLICIES}/{self._written('POST', _POLICIES, _ITEM_1_IS_DENIED).id}"

    def _delete_policy(self) -> None:
        self._written("DELETE", self._policy_path)

    def _written(self, method: str, path: str, document: object = None) -> RestReply:
        """Write, again while the API answers that nothing was stored (503)."""
        ends = time.monotonic() + _WRITTEN_WITHIN_S
        while (reply := self._stack.rest.ask(method, path, document)).status == UNAVAILABLE:
            assert time.monotonic() < ends, reply
            self.made["writes answered 503 and tried again"] += 1
            self.over.wait(_RETRY_S)
        assert reply.status in {200, 201, 204}, reply
        return reply


def _finance_reads(resource: str) -> dict[str, object]:
    return {"sub": "finance", "dom": "*", "obj": resource, "act": "read", "effect": "allow"}
