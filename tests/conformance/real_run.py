"""Runs a case against the real API, in which values are met that no case can know."""

import json
import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from extauthz_client import Credentials
from tests.conformance.cases import Case, Variables
from tests.conformance.comparison import differences, failure_differences
from tests.conformance.python_client import Form, Hooks, Outcome, run


async def real_differences(
    case: Case, form: Form, url: str, credentials: Callable[[Mapping[str, Any]], Awaitable[Credentials]]
) -> list[str]:
    """Return how the results of a case differ; `credentials` makes those of its `real`."""
    variables = Variables({"RUN": f"run-{secrets.token_hex(4)}"})
    steps = list(case.steps)
    problems: list[str] = []

    def after(number: int, outcome: Outcome) -> None:
        problems.extend(f"step {number}: {each}" for each in _differences(steps[number], outcome, variables))

    made = await credentials(variables.fill(case.document["real"]))
    client = {"url": url} | case.document.get("client", {})
    done = await run(form, lambda: made, client, steps, Hooks(lambda _: None, after, variables.fill))
    assert len(done.outcomes) == len(steps)
    return problems


def _differences(step: Mapping[str, Any], outcome: Outcome, variables: Variables) -> list[str]:
    if "error" in step:
        if outcome.failure is None:
            return [f"no error was raised, the result is {outcome.result!r:.500}"]
        expected = step["error"]
        found = {"detail": outcome.failure.detail, "errors": list(outcome.failure.errors)}
        variables.bind({name: expected[name] for name in found if name in expected}, found)
        return list(failure_differences(variables.fill(expected), outcome.failure))
    if outcome.failure is not None:
        return [f"an error was raised: {outcome.failure}"]
    result = outcome.result
    if isinstance(result, list):
        # Others use the API as well.
        result = [each for each in result if variables.values["RUN"] in json.dumps(each, default=str)]
    variables.bind(step["result"], result)
    problems = list(differences(variables.fill(step["result"]), result))
    if "revision" in step:
        variables.bind(step["revision"], outcome.revision)
        problems += differences(variables.fill(step["revision"]), outcome.revision, "revision")
    return problems
